"""ragdist trains relatively augmented GANs, from one laptop core to a cluster."""

__version__ = "0.3.0.dev0"
