"""Clips to listen to: as WAVs, one after the other, and as players in a page."""

from __future__ import annotations

import base64
import html
import io
import wave

import torch
from PIL import Image
from torch import Tensor

from ragdist.modalities.audio.picture import WIDTH, tiles
from ragdist.modalities.base import Form
from ragdist.tools.errors import UserError

PAUSE = 0.3  # seconds behind each of several clips
_FADE = 0.003  # seconds at a clip's ends, where it meets a pause: what begins or ends loud would click there
_PLAYER_BYTES = 64 << 10  # most that a player takes of a page, which holds some two hundred
_MP3 = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # rates that it knows
_SMALLER = (0.4, 0.9)  # of MP3: the first that is small enough
_MOST_BYTES = 0xFFFF0000  # of a WAV, whose sizes have 32 bits


def wav(clip: Tensor, rate: int) -> bytes:
    """A clip int16 [C, T] as the bytes of a WAV."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(len(clip))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(clip.cpu().T.contiguous().numpy().astype("<i2").tobytes())
    return data.getvalue()


def too_many(count: int, form: Form) -> bool:
    """Whether so many clips, one after the other, are more than a WAV holds."""
    channels, length = form.shape
    return count * (length + round(PAUSE * form.spec["rate"])) * channels * 2 > _MOST_BYTES


def one_after_the_other(samples: Tensor, form: Form) -> Tensor:
    """Clips int16 [n, C, T] as one, [C, T'], a pause behind each."""
    rate, length = form.spec["rate"], form.shape[1]
    count = min(round(_FADE * rate), length // 2)
    fade = torch.ones(length)
    fade[:count] = torch.arange(1, count + 1) / (count + 1)
    fade[length - count :] = fade[:count].flip(0)
    faded = (samples.cpu().float() * fade).round().to(torch.int16)
    return torch.nn.functional.pad(faded, (0, round(PAUSE * rate))).transpose(0, 1).flatten(1)


def players(samples: Tensor, form: Form, columns: int) -> str:
    """Clips as a table of pictures with players, as HTML."""
    end = form.shape[1] / form.spec["rate"]
    times = f"<small><span>0</span><span>{end / 2:.2g}</span><span>{end:.3g} s</span></small>"
    cells, silent = [], 0
    for clip, tile in zip(samples.cpu(), tiles(samples, form), strict=True):
        player = _player(clip, form)
        silent += not player
        cells.append(f"<td>{_picture(tile)}{times}{player}</td>")
    rows = ["<tr>" + "".join(cells[i : i + columns]) + "</tr>" for i in range(0, len(cells), columns)]
    note = "These clips are too long, or of too many channels, to be played in a page."
    below = f"<p class='small'>{note}</p>" if silent else ""
    return f'{_STYLE}<table class="clips">{"".join(rows)}</table>{below}'


_STYLE = f"""<style>
table.clips td {{ padding: 0 8px 10px 0; border: 0; vertical-align: top }} table.clips tr {{ border: 0 }}
table.clips img, table.clips audio {{ display: block; width: {WIDTH}px }} table.clips audio {{ height: 30px }}
table.clips small {{ display: flex; justify-content: space-between; font-size: 10px; line-height: 14px; opacity: .7 }}
</style>"""


def _picture(tile: Image.Image) -> str:
    out = io.BytesIO()
    tile.save(out, "webp", lossless=True)
    return f'<img alt="" width="{tile.width}" src="data:image/webp;base64,{_text(out.getvalue())}">'


def _player(clip: Tensor, form: Form) -> str:
    """A player, with all that it plays inside; empty where that is too large."""
    kind, data = _packed(clip, form.spec["rate"])
    if len(data) > _PLAYER_BYTES:
        return ""
    return f'<audio controls preload="none" src="data:{html.escape(kind)};base64,{_text(data)}"></audio>'


def _packed(clip: Tensor, rate: int) -> tuple[str, bytes]:
    """A clip as its samples are, and only where these are too many as an MP3, perhaps too large: (type, bytes)."""
    found = wav(clip, rate)
    if len(found) <= _PLAYER_BYTES // 2:
        return "audio/wav", found
    from ragdist.modalities.audio import sound_file

    kinds = [("audio/flac", "FLAC", 0.5), *(("audio/mpeg", "MP3", smaller) for smaller in _SMALLER if rate in _MP3)]
    for kind, name, smaller in kinds:
        out = io.BytesIO()
        try:
            sound_file.library().write(out, clip.T.numpy(), rate, format=name, compression_level=smaller)
        except (RuntimeError, UserError):  # no format has all rates and numbers of channels; or no library
            continue
        if len(out.getvalue()) <= _PLAYER_BYTES:
            return kind, out.getvalue()
    return "audio/wav", found


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
