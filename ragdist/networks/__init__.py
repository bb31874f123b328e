"""Network families, one a file, and the tables of their names. Importing this needs no PyTorch.

A family is a pair (generator, discriminator) of classes, `base.Generator` and `base.Discriminator`. To add one, write
its file and its row; one of your own is added by a plugin.
"""

from ragdist.tools.table import Table

FAMILIES = Table(
    "ragdist.networks",
    "network family",
    {
        "mlp": "ragdist.networks.mlp:FAMILY",
        "dcgan": "ragdist.networks.dcgan:FAMILY",
        "resnet": "ragdist.networks.resnet:FAMILY",
        "spectral": "ragdist.networks.spectral:FAMILY",
        "wavegan": "ragdist.networks.wavegan:FAMILY",
        "resnet1d": "ragdist.networks.resnet1d:FAMILY",
    },
)

# What G's last layer gives becomes a sample by one of these functions: which, the modality says.
HEADS = Table(
    "ragdist.heads",
    "output head",
    {
        "tanh": "ragdist.networks.heads:tanh",
        "identity": "ragdist.networks.heads:identity",
        "softmax": "ragdist.networks.heads:softmax",
        "straight_through": "ragdist.networks.heads:straight_through",
    },
)
