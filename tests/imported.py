"""What the server that commands are forked from imports: all that they would, each for seconds."""

import gc
import importlib

MODULES = (
    "attrs",  # by jsonargparse, where it is there
    "boto3",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "numpy.ma",
    "numpy.random",
    "PIL.BmpImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.PpmImagePlugin",
    "safetensors.torch",
    "tensorboard.plugins.hparams.api_pb2",
    "torch.nested._internal.nested_tensor",
    "torch.utils.tensorboard",
    "ragdist.data.indexing.check",
    "ragdist.evaluation.report.page",
    "ragdist.launch.local",
    "ragdist.modalities.image.judging",
    "ragdist.training.trainer",
)

for name in MODULES:
    importlib.import_module(name)
gc.freeze()
