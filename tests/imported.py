"""What the server that commands are forked from imports: all that they would, each for seconds."""

import gc

import boto3  # noqa: F401
import PIL.PngImagePlugin  # noqa: F401
import safetensors.torch  # noqa: F401
import torch.utils.tensorboard  # noqa: F401

import ragdist.training.trainer  # noqa: F401

gc.freeze()
