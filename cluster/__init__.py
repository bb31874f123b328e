"""Ways to a Ray cluster: manifests for KubeRay, configurations of Ray's launcher, Slurm scripts, and the lab."""
