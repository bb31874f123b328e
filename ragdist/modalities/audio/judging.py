"""Clips to look at and to listen to: spectrograms, WAVs, players in pages and in TensorBoard; features and measures.

Functions without a docstring are those of `modalities.base.Judging`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ragdist.modalities import pictures
from ragdist.modalities.audio import making, sound_file
from ragdist.modalities.audio.classified import SEES, classified, vary  # noqa: F401 - vary is of this face
from ragdist.modalities.audio.listen import PAUSE, one_after_the_other, players, too_many, wav
from ragdist.modalities.audio.options import AudioOptions
from ragdist.modalities.audio.picture import tiles
from ragdist.modalities.audio.statistics import statistics as statistics
from ragdist.modalities.base import Form, Interpolation
from ragdist.storage.files import write_whole
from ragdist.tools.errors import UserError

features = ("log_mel", "classifier", "speaker")
labelled_features = "classifier"
classifier = "classifier"
sees = SEES
measures = ("clip_faults",)
quantization = "16 bits a sample"
out = "samples.wav"
beside = 6
interpolation = Interpolation(samples=4, points=2, frames=8, closed=False)

_LOGGED, _LOGGED_SECONDS = 10, 15  # most clips that TensorBoard shows and plays, and how long these are together


def preview(samples: Tensor, form: Form, columns: int | None = None) -> Image.Image:
    return pictures.grid(tiles(samples, form), columns)


def check_out(out: Path, animate: bool) -> str:
    if out.suffix.lower() == ".wav":
        return ""
    if animate:
        return f"clips between latents go into one file, a WAV; name it {out.with_suffix('.wav')}"
    return "end it in .wav, or name a folder" if out.suffix else ""


def write(samples: Tensor, form: Form, out: Path, columns: int | None) -> str:
    if too_many(len(samples), form):
        raise UserError(f"--out {out}: {len(samples):,} clips are more than a WAV holds; name a folder")
    write_whole(out, wav(one_after_the_other(samples, form), form.spec["rate"]))
    return f"{len(samples)} clips, one after the other with pauses of {PAUSE} seconds,"


def write_each(samples: Tensor, form: Form, folder: Path, first: int) -> int:
    for number, clip in enumerate(samples, first):
        write_whole(folder / f"{number:06d}.wav", wav(clip, form.spec["rate"]))
    return len(samples)


def animate(frames: Sequence[Tensor], form: Form, out: Path, columns: int | None) -> str:
    rows = torch.stack(list(frames), 1)  # from one latent to another, row by row
    write(rows.flatten(0, 1), form, out, columns)
    return f"{rows.shape[0]} rows of {rows.shape[1]} clips, one after the other,"


def log(board: Any, tag: str, samples: Tensor, form: Form, picture: Image.Image, step: int) -> None:
    rate = form.spec["rate"]
    seconds = form.shape[1] / rate + PAUSE
    count = max(min(_LOGGED, len(samples), int(_LOGGED_SECONDS / seconds)), 1)
    board.add_image(tag, pictures.to_tensor(preview(samples[:count], form, count)), step)
    sound = one_after_the_other(samples[:count], form).float().mean(0, keepdim=True) / 32768  # it takes mono alone
    board.add_audio(tag, sound, step, sample_rate=rate)


def brought(file: bytes, form: Form) -> tuple[bytes, tuple[str, ...]]:
    """As recordings become clips, but as loud as they are: how loud a generator's are is judged, too."""
    (channels, length), rate = form.shape, form.spec["rate"]
    with sound_file.opened(file) as sound:
        if (sound.rate, sound.frames, sound.channels) == (rate, length, channels):
            return file, ()
    options = AudioOptions(rate, length / rate, channels if channels <= 2 else 0, gain="keep", format="wav")
    encoded = making.encode(file, options)
    return encoded.data, tuple(note for note in encoded.notes if note != "silent")


def html(samples: Tensor, form: Form, columns: int) -> str:
    return players(samples, form, columns)


def html_rows(rows: Sequence[tuple[str, Tensor]], form: Form) -> str:
    return "".join(f"<h3>{escape(name)}</h3>{players(samples, form, len(samples))}" for name, samples in rows)
