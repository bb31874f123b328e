"""Texts to look at: printed, in files, as pictures, in pages and in TensorBoard; features and measures.

Functions without a docstring are those of `modalities.base.Judging`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ragdist.modalities import pictures
from ragdist.modalities.base import Form, Interpolation, Statistic
from ragdist.modalities.text import listing, reading
from ragdist.modalities.text.classified import SEES, classified, vary  # noqa: F401 - they are of this face
from ragdist.modalities.text.picture import tiles
from ragdist.modalities.text.strings import marks, one_line, shown, strings
from ragdist.modalities.text.vocabulary import PAD, UNKNOWN
from ragdist.storage.files import write_whole

features = ("ngrams", "classifier")
labelled_features = "classifier"
classifier = "classifier"
sees = SEES
measures = ("text_scores",)
cheap = ("text_scores",)
quantization = "the likeliest token of each place"
out = ""
beside = 3
several = {".txt": reading.lines, ".jsonl": reading.objects}
interpolation = Interpolation(samples=4, points=2, frames=8, closed=False)

_LOGGED = 20  # texts that TensorBoard shows


def preview(samples: Tensor, form: Form, columns: int | None = None) -> Image.Image:
    return pictures.grid(tiles(strings(samples, form), form), columns)


def statistics(payloads: Sequence[memoryview], samples: Tensor, form: Form) -> list[Statistic]:
    """Lengths in tokens and words, and which texts are empty or have characters that the alphabet lacks."""
    tokens, texts = form.spec["tokens"], strings(samples, form)
    there = np.array([bool(token) for token in tokens])[np.asarray(samples, np.int64)]
    return [
        Statistic("length", there.sum(1).tolist(), "tokens"),
        Statistic("words", [len(text.split()) for text in texts]),
        Statistic("empty", [not text.strip() for text in texts]),
        Statistic(_unknown(tokens), [UNKNOWN in text for text in texts]),
        Statistic("padded", (~there[:, -1]).tolist()),
    ]


def _unknown(tokens: Sequence[str]) -> str:
    """What texts with U+FFFD are: it stands before all characters, but where it is one of the data's, too."""
    return "with U+FFFD" if UNKNOWN in tokens[1 + (tokens[0] == PAD) :] else "with unknown characters"


def show(samples: Tensor, form: Form) -> str:
    return "\n".join(map(shown, strings(samples, form)))


def check_out(out: Path, animate: bool) -> str:
    if out.suffix.lower() in (".txt", ".jsonl"):
        return ""
    if animate:
        return f"texts between latents go into one file; name it {out.with_suffix('.txt')}"
    return "end it in .txt or .jsonl, or name a folder" if out.suffix else ""


def write(samples: Tensor, form: Form, out: Path, columns: int | None) -> str:
    """A .txt has a text a line, with marks for line endings inside of it; a .jsonl objects with the key "text"."""
    texts = strings(samples, form)
    if out.suffix.lower() == ".jsonl":
        lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    else:
        endings = marks(form)
        lines = [one_line(text, endings) for text in texts]
    write_whole(out, _bytes("".join(f"{line}\n" for line in lines)))
    return f"{len(texts)} texts"


def write_each(samples: Tensor, form: Form, folder: Path, first: int) -> int:
    endings = marks(form)
    for number, text in enumerate(strings(samples, form), first):
        write_whole(folder / f"{number:06d}.txt", _bytes(one_line(text, endings) + "\n"))
    return len(samples)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")  # of an alphabet with half of a surrogate pair


def animate(frames: Sequence[Tensor], form: Form, out: Path, columns: int | None) -> str:
    rows = torch.stack(list(frames), 1)  # from one latent to another, row by row
    write(rows.flatten(0, 1), form, out, columns)
    return f"{rows.shape[0]} rows of {rows.shape[1]} texts, one after the other,"


def log(board: Any, tag: str, samples: Tensor, form: Form, picture: Image.Image, step: int) -> None:
    board.add_image(tag, pictures.to_tensor(picture), step)
    lines = "\n".join(f"    {shown(text)}" for text in strings(samples[:_LOGGED], form))  # Markdown's way of code
    board.add_text(tag, lines, step)


def brought(file: bytes, form: Form) -> tuple[bytes, tuple[str, ...]]:
    return reading.payload(file, form)


def html(samples: Tensor, form: Form, columns: int) -> str:
    return listing.table(strings(samples, form), min(columns, beside))


def html_rows(rows: Sequence[tuple[str, Tensor]], form: Form) -> str:
    return "".join(f"<h3>{escape(name)}</h3>{listing.table(strings(samples, form), beside)}" for name, samples in rows)


def html_pairs(samples: Tensor, others: Tensor, form: Form) -> str:
    return listing.pairs(strings(samples, form), strings(others, form))
