"""From a recording to clips: which part, at which rate, in how many channels, how loud.

Functions take and give float32 [frames, channels], full scale at 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ragdist.modalities.audio.options import AudioOptions, length
from ragdist.modalities.audio.sound_file import SoundFile
from ragdist.tools.errors import UserError

PEAK = 0.95  # of full scale, where clips are made as loud as fits
LOUDNESS = 0.1  # root mean square that equally loud clips have, -20 dB
SILENT = 10 ** (-80 / 20)  # a clip whose peak is below has nothing to make louder but noise
_MARGIN = 0.1  # seconds around a part that the resampler sees, too
_STEP = 0.01  # seconds by which the loudest part is found
_LEAST_REST = 0.5  # share of a clip that the last of several windows must fill to be one


@dataclass(frozen=True)
class Part:
    """A part of a recording, in its own frames."""

    start: int
    stop: int


def frames_of(sound: SoundFile, options: AudioOptions) -> int:
    """How many of a recording's frames a clip takes."""
    return -(-length(options.rate, options.seconds) * sound.rate // options.rate)


def parts(sound: SoundFile, options: AudioOptions) -> list[Part]:
    """The parts of a recording that become clips, as --slice says; the last one may be shorter than a clip."""
    wanted, there = frames_of(sound, options), sound.frames
    if there <= wanted:
        return [Part(0, there)]
    if options.slice == "windows":
        starts = range(0, there, wanted)
        found = [Part(start, min(start + wanted, there)) for start in starts]
        last = found[-1]
        return found if last.stop - last.start >= _LEAST_REST * wanted else found[:-1]
    if options.slice == "first":
        start = 0
    elif options.slice == "center":
        start = (there - wanted) // 2
    else:
        start = loudest(sound, wanted)
    return [Part(start, start + wanted)]


def loudest(sound: SoundFile, wanted: int) -> int:
    """The first frame of the part of so many frames with the most energy, read in blocks."""
    step = max(int(sound.rate * _STEP), 1)
    energies, rest = [], np.empty((0, sound.channels), np.float32)
    for block in sound.blocks():
        block = np.concatenate([rest, block])
        whole = len(block) - len(block) % step
        rest = block[whole:]
        energies.append(np.square(block[:whole], dtype=np.float64).mean(1).reshape(-1, step).sum(1))
    sums = np.concatenate([[0.0], np.cumsum(np.concatenate(energies))])
    steps = min(wanted // step, len(sums) - 1)
    best = int(np.argmax(sums[steps:] - sums[: len(sums) - steps]))
    return min(best * step, sound.frames - wanted)


def clip(sound: SoundFile, part: Part, options: AudioOptions) -> tuple[np.ndarray, list[str]]:
    """A clip, int16 [T, channels], of a part of a recording; and what was done to it.

    Raises:
        ValueError: the recording is damaged, or silent where loudness is to be evened out.
    """
    notes, size = [], length(options.rate, options.seconds)
    samples = mixed(_resampled(sound, part, options, size), options.channels)
    if samples.shape[1] < sound.channels:
        notes.append("mixed down")
    elif samples.shape[1] > sound.channels:
        notes.append("doubled to stereo")
    if sound.rate != options.rate:
        notes.append("resampled")
    if part.stop - part.start < sound.frames and options.slice != "windows":
        notes.append("cut")
    samples, more = loud(samples, options.gain)
    notes += more
    if len(samples) < size:
        before = (size - len(samples)) // 2 if options.slice in ("center", "energy") else 0
        samples = np.pad(samples, ((before, size - len(samples) - before), (0, 0)))
        notes.append("padded with silence")
    return to_int16(samples), notes


def _resampled(sound: SoundFile, part: Part, options: AudioOptions, size: int) -> np.ndarray:
    """Read a part, and a margin around it, and resample both; at most ``size`` frames of the part."""
    if sound.rate == options.rate:
        return sound.read(part.start, part.stop - part.start)
    try:
        import soxr
    except ImportError as error:
        raise UserError(f"resampling needs soxr ({error}): pip install 'ragdist[audio]'") from error
    ratio = Fraction(options.rate, sound.rate)
    margin = int(_MARGIN * sound.rate)
    # The margin before it becomes a whole number of frames of the new rate.
    before = min(margin, part.start) // ratio.denominator * ratio.denominator
    stop = min(part.stop + margin, sound.frames)
    samples = soxr.resample(sound.read(part.start - before, stop - part.start + before), sound.rate, options.rate)
    first = int(before * ratio)
    return samples[first : first + min(size, max(round((part.stop - part.start) * ratio), 1))]


def mixed(samples: np.ndarray, channels: int) -> np.ndarray:
    """Bring samples [T, c] to so many channels: their mean, or the mono doubled; 0: as they are.

    Of more than two the mean stands for stereo, too: what stands where of 5.1 or 7.1 formats differ about.
    """
    if channels in (0, samples.shape[1]):
        return samples
    mono = samples.mean(1, keepdims=True, dtype=np.float32)
    return np.repeat(mono, channels, 1)


def loud(samples: np.ndarray, gain: str) -> tuple[np.ndarray, list[str]]:
    """Make a clip as loud as --gain says; and what was done beside it."""
    peak = float(np.abs(samples).max(initial=0))
    if gain == "keep":
        notes = ["clipped"] if peak > 1 else []
        return samples, [*notes, "silent"] if peak < SILENT else notes
    if peak < SILENT:
        raise ValueError("it is silent, and cannot be made louder (--gain keep takes it as it is)")
    if gain == "peak":
        return samples * np.float32(PEAK / peak), []
    factor = LOUDNESS / float(np.sqrt(np.square(samples, dtype=np.float64).mean()))
    if factor * peak > PEAK:
        return samples * np.float32(PEAK / peak), ["less loud than the others, to fit"]
    return samples * np.float32(factor), []


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Round to 16 bits; what is beyond full scale is clipped."""
    return np.minimum(np.rint(np.clip(samples, -1, 1) * 32768.0), 32767).astype(np.int16)
