"""Modalities: all that knows what a sample is, one folder each, and the table of their codecs by name.

Importing this needs no PyTorch: the processes that write shards want the table, too.
"""

from ragdist.modalities.base import Codec
from ragdist.modalities.image.codec import ImageCodec

CODECS: dict[str, Codec] = {"image": ImageCodec()}
