"""A run's folder or URL: its files, the lease on it, checkpoints, the mirror of a local folder in an object store.

Files and who may write them; what is in a checkpoint, `ragdist.training` decides.
"""
