"""Inception features: the InceptionV3 of FID, through torch-fidelity, an optional package (``ragdist[inception]``).

Its weights are the original TensorFlow network's, and images are resized by its own bilinear filter, so FID, KID
and the Inception score compare with published ones of the same protocol (samples, reals, split).
"""

import hashlib
import pickle
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from ragdist.metrics.extractor import Extractor, Features
from ragdist.tools.errors import UserError

_LAYERS = ["2048", "logits_unbiased"]


class Inception(Extractor):
    """Inception's last pooling layer, and its logits without bias as the Inception score takes them.

    Args:
        weights: a file of them; empty: PyTorch's cache, or a download into it.

    Raises:
        UserError: no package, no weights and no network, or a file that is something else.
    """

    name = "inception"
    dim = 2048
    resizing = "bilinear to 299x299 as in TensorFlow 1"

    def __init__(self, weights: str, device: torch.device | str):
        try:
            from torch_fidelity import feature_extractor_inceptionv3 as inceptionv3
        except ImportError as error:
            raise UserError("--features inception needs torch-fidelity: pip install 'ragdist[inception]'") from error
        path = Path(weights).expanduser() if weights else _downloaded(inceptionv3.URL_INCEPTION_V3)
        content = _checked(path)
        try:
            net = inceptionv3.FeatureExtractorInceptionV3("inception-v3-compat", _LAYERS, str(path))
        except (RuntimeError, AttributeError, TypeError) as error:
            raise UserError(f"{path} holds no InceptionV3 weights as torch-fidelity has them") from error
        self.net = net.to(device)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.about = {"weights": str(path)}

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        return self.net(images)


def _downloaded(url: str) -> Path:
    """Download the weights to PyTorch's cache, where they are not there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        print(f"fetching the Inception weights from {url}", flush=True)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except (URLError, OSError) as error:
            raise UserError(
                f"the Inception weights are not here and cannot be downloaded ({error}): fetch {url} on another "
                "machine and give the file by --inception_weights FILE, or choose --features classifier or pixels"
            ) from error
    return path


def _checked(path: Path) -> bytes:
    """Read the weights, and refuse a file that holds code: torch-fidelity would run it."""
    if not path.is_file():
        raise UserError(f"--inception_weights {path}: there is no such file")
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise UserError(f"--inception_weights {path}: it is no file of PyTorch weights, or damaged") from error
    return path.read_bytes()


INCEPTION = Features(lambda source: Inception(source.weights, source.device))
