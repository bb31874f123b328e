"""Features that tell who speaks: the speaker encoder of Wan et al. 2018, as trained by the authors of Resemblyzer.

Its weights lie in the wheel ``resemblyzer``, an optional package; its code, which needs a compiler to be installed, is
not used. An LSTM reads mel spectra of 1.6 seconds at 16 kHz and gives a unit vector: that of two clips of one speaker
is nearly the same whatever is said. It was trained on thousands of speakers of English.
"""

import hashlib
import importlib.util
import math
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ragdist.metrics.extractor import Extractor, Features
from ragdist.modalities.audio.spectrum import mono
from ragdist.modalities.base import Form
from ragdist.tools.errors import UserError

PACKAGE, FILE = "resemblyzer", "pretrained.pt"
DIM, _BANDS, _LAYERS = 256, 40, 3
_RATE, _WINDOW, _HOP = 16_000, 400, 160  # Hz, samples
_PART, _STEP, _LEAST = 160, 77, 0.75  # frames of a part; from one to the next; share of the last one that must be there
_LOUDNESS = 10 ** (-30 / 20)  # root mean square that quieter clips are brought to


class SpeakerNetwork(nn.Module):
    """An LSTM whose last state, behind a linear layer and a ReLU, is a unit vector."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(_BANDS, DIM, _LAYERS, batch_first=True)
        self.linear = nn.Linear(DIM, DIM)

    def forward(self, mel: Tensor) -> Tensor:
        """Map mel spectra [n, frames, bands] to unit vectors [n, DIM]."""
        _, (state, _) = self.lstm(mel)
        return F.normalize(self.linear(state[-1]).relu(), dim=1)


class Speaker(Extractor):
    """The mean unit vector of a clip's parts of 1.6 seconds, again a unit vector; shorter clips get silence behind.

    Raises:
        UserError: the weights are not here, or damaged.
    """

    name = "speaker"
    dim = DIM

    def __init__(self, form: Form, device: torch.device | str):
        self.rate = form.spec["rate"]
        self.resizing = f"mel spectra at {_RATE:,} Hz in parts of 1.6 seconds"
        path = _weights()
        content = path.read_bytes()
        self.net = _network(path).to(device)
        self.sha256 = hashlib.sha256(content + b"speaker 1").hexdigest()
        self.about = {"weights": str(path)}

    def __call__(self, clips: Tensor) -> tuple[Tensor, None]:
        waves = mono(clips)[:, 0].float() / 32768
        if self.rate != _RATE:
            waves = _resampled(waves.cpu(), self.rate).to(waves.device)
        loudness = waves.square().mean(1, keepdim=True).sqrt().clamp(min=1e-9)
        mel = mel_spectra(waves * (_LOUDNESS / loudness).clamp(min=1).where(loudness > 1e-6, 1.0))
        found = [self.net(mel[:, start : start + _PART]) for start in starts(waves.shape[1])]
        return F.normalize(torch.stack(found, 1).mean(1), dim=1), None


def _resampled(waves: Tensor, rate: int) -> Tensor:
    try:
        import soxr
    except ImportError as error:
        raise UserError(f"--features speaker needs soxr ({error}): pip install 'ragdist[audio]'") from error
    return torch.stack([torch.from_numpy(soxr.resample(wave, rate, _RATE)) for wave in waves.numpy()])


def starts(length: int) -> range:
    """The first frames of the parts of a clip of so many samples."""
    frames = math.ceil((length + 1) / _HOP)
    found = range(0, max(frames - _PART + _STEP + 1, 1), _STEP)
    there = (length - found[-1] * _HOP) / (_PART * _HOP)
    return found[:-1] if there < _LEAST and len(found) > 1 else found


def mel_spectra(waves: Tensor) -> Tensor:
    """Map waves [n, T] at 16 kHz to powers of mel bands [n, frames, bands], at least as many frames as a part has."""
    frames = starts(waves.shape[1])[-1] + _PART
    waves = F.pad(waves, (_WINDOW // 2, max(frames * _HOP - waves.shape[1], 0) + _WINDOW))
    cut = waves.unfold(1, _WINDOW, _HOP)[:, :frames] * torch.hann_window(_WINDOW, device=waves.device)
    power = torch.view_as_real(torch.fft.rfft(cut)).square().sum(3)
    return power @ _filters().to(power.device)


def _filters() -> Tensor:
    """Slaney's mel filters [window / 2 + 1, bands]: linear below 1,000 Hz, triangles of equal area."""
    top = 15 + math.log(_RATE / 2 / 1000) / (math.log(6.4) / 27)
    mel = torch.linspace(0, top, _BANDS + 2, dtype=torch.float64)
    edges = torch.where(mel < 15, mel * 200 / 3, 1000 * ((mel - 15) * (math.log(6.4) / 27)).exp())
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    at = torch.linspace(0, _RATE / 2, _WINDOW // 2 + 1, dtype=torch.float64).unsqueeze(1)
    weights = torch.minimum((at - low) / (middle - low), (high - at) / (high - middle)).clamp(min=0)
    return (weights * (2 / (high - low))).float()


def _weights() -> Path:
    """The file of weights of the installed package, which is not imported."""
    spec = importlib.util.find_spec(PACKAGE)
    path = Path((spec and next(iter(spec.submodule_search_locations or ()), "")) or "", FILE)
    if not spec or not path.is_file():
        raise UserError(f"--features speaker needs the weights in {PACKAGE}: pip install --no-deps {PACKAGE}")
    return path


def _network(path: Path) -> SpeakerNetwork:
    network = SpeakerNetwork()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        network.load_state_dict({name: state[name] for name in network.state_dict()})
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds no speaker encoder, or is damaged: install {PACKAGE} again") from error
    return network.eval().requires_grad_(False)


SPEAKER = Features(lambda source: Speaker(source.data.index.form, source.device))
