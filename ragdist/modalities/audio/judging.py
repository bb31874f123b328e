"""Clips to look at and to listen to: spectrograms, WAVs, players in pages and in TensorBoard.

Functions without a docstring are those of `modalities.base.Judging`.
"""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ragdist.modalities import pictures
from ragdist.modalities.audio.picture import WIDTH, tile
from ragdist.modalities.audio.statistics import statistics as statistics
from ragdist.modalities.base import Form
from ragdist.storage.files import write_whole

features = ("log_mel", "clip_classifier")
labelled_features = "clip_classifier"
classifier = "clip_classifier"
measures = ("clip_faults",)
quantization = "16 bits a sample"
out = "samples.wav"

PAUSE = 0.3  # seconds between clips of one file
_LOGGED = 16  # clips that TensorBoard plays, one after the other


def preview(samples: Tensor, form: Form, columns: int | None = None) -> Image.Image:
    return pictures.grid([tile(clip, form.spec["rate"]) for clip in samples.cpu()], columns)


def check_out(out: Path, animate: bool) -> str:
    if out.suffix and out.suffix.lower() != ".wav":
        return "end it in .wav, or name a folder" if not animate else f"it is a WAV; name it {out.with_suffix('.wav')}"
    return f"it is a WAV; name it {out.with_suffix('.wav')}" if animate and not out.suffix else ""


def write(samples: Tensor, form: Form, out: Path, columns: int | None) -> str:
    write_whole(out, wav(one_after_the_other(samples, form), form.spec["rate"]))
    return f"{len(samples)} clips, one after the other"


def write_each(samples: Tensor, form: Form, folder: Path, first: int) -> int:
    for number, clip in enumerate(samples, first):
        write_whole(folder / f"{number:06d}.wav", wav(clip, form.spec["rate"]))
    return len(samples)


def animate(frames: Sequence[Tensor], form: Form, out: Path, columns: int | None) -> str:
    samples = torch.stack(list(frames), 1).flatten(0, 1)  # each latent's way, one after the other
    write(samples, form, out, columns)
    return f"{len(frames)} steps of {len(frames[0])} clips, one after the other"


def log(board: Any, tag: str, samples: Tensor, form: Form, picture: Image.Image, step: int) -> None:
    board.add_image(tag, pictures.to_tensor(picture), step)
    sound = one_after_the_other(samples[:_LOGGED], form).float().mean(0, keepdim=True) / 32768  # it takes mono alone
    board.add_audio(tag, sound, step, sample_rate=form.spec["rate"])


def html(samples: Tensor, form: Form, columns: int) -> str:
    cells = []
    for clip in samples.cpu():
        data = base64.b64encode(wav(clip, form.spec["rate"])).decode()
        player = f'<audio controls preload="none" style="width:{WIDTH}px" src="data:audio/wav;base64,{data}"></audio>'
        cells.append(f"<td>{pictures.inside(tile(clip, form.spec['rate']))}<br>{player}</td>")
    rows = ["<tr>" + "".join(cells[i : i + columns]) + "</tr>" for i in range(0, len(cells), columns)]
    return f'<table class="clips">{"".join(rows)}</table>'


def wav(clip: Tensor, rate: int) -> bytes:
    """A clip int16 [C, T] as the bytes of a WAV."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(len(clip))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(clip.cpu().T.contiguous().numpy().astype("<i2").tobytes())
    return data.getvalue()


def one_after_the_other(samples: Tensor, form: Form) -> Tensor:
    """Clips [n, C, T] as one, int16 [C, T'], with pauses."""
    silence = samples.new_zeros(form.shape[0], round(PAUSE * form.spec["rate"]))
    return torch.cat([part for clip in samples for part in (clip, silence)], 1)
