"""From a recording to clips: which part, at which rate, in how many channels, how loud.

Samples are float32 [frames, channels], full scale at 1. Places in a recording are counted in frames of the clips' rate,
so that a clip is what would be cut out of the whole recording, resampled.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ragdist.modalities.audio.options import AudioOptions, length
from ragdist.modalities.audio.recording import Recording
from ragdist.modalities.audio.sound_file import SoundFile
from ragdist.tools.errors import UserError

PEAK = 0.95  # of full scale, where clips are made as loud as fits
LOUDNESS = 0.1  # root mean square that equally loud clips have, -20 dB
SILENT = 10 ** (-80 / 20)  # a clip whose peak is below has nothing to make louder but noise
_MARGIN = 0.1  # seconds around a part that the resampler sees, too
_STEP = 0.01  # seconds by which the loudest part is found
_LEAST_REST = 0.5  # share of a clip that the last of several windows must fill to be one

Sound = SoundFile | Recording


def size_of(options: AudioOptions) -> int:
    """Frames of a clip."""
    return length(options.rate, options.seconds)


def frames_at(sound: Sound, rate: int) -> int:
    """Frames of a recording, resampled."""
    return max(round(sound.frames * Fraction(rate, sound.rate)), 1)


def windows(frames: int, size: int) -> int:
    """How many clips one behind the other a recording holds; the last one may be shorter, if not by much."""
    whole, rest = divmod(frames, size)
    return max(whole + (rest >= _LEAST_REST * size), 1)


def start_of(sound: Sound, options: AudioOptions, number: int) -> int:
    """The first frame of a recording's clip of this number, as --slice says."""
    size, frames = size_of(options), frames_at(sound, options.rate)
    if options.slice == "windows":
        return number * size
    if options.slice == "first" or frames <= size:
        return 0
    if options.slice == "center":
        return (frames - size) // 2
    return min(round(loudest(sound, size * Fraction(sound.rate, options.rate)) * options.rate), frames - size)


def loudest(sound: Sound, frames: Fraction | int) -> Fraction:
    """The second at which the part with the most energy begins, of so many of a recording's own frames each.

    The recording is read in blocks.
    """
    step = max(int(sound.rate * _STEP), 1)
    energies, rest = [], np.empty((0, sound.channels), np.float32)
    for block in sound.blocks():
        block = np.concatenate([rest, block])
        whole = len(block) - len(block) % step
        rest = block[whole:]
        energies.append(np.square(block[:whole], dtype=np.float64).mean(1).reshape(-1, step).sum(1))
    sums = np.concatenate([[0.0], np.cumsum(np.concatenate(energies))])
    steps = min(int(frames // step), len(sums) - 1)
    return Fraction(int(np.argmax(sums[steps:] - sums[: len(sums) - steps])) * step, sound.rate)


def clip(sound: Sound, options: AudioOptions, number: int = 0) -> tuple[np.ndarray, list[str]]:
    """A clip of a recording, int16 [T, channels], and what was done to it.

    Args:
        sound: the recording.
        options: how.
        number: of the clip, where --slice makes several.

    Raises:
        ValueError: the recording is damaged, or silent where loudness is to be evened out.
    """
    size, frames = size_of(options), frames_at(sound, options.rate)
    start = start_of(sound, options, number)
    there = min(size, frames - start)
    samples = mixed(resampled(sound, options.rate, start, there), options.channels)
    notes = _changes(sound, samples.shape[1], options)
    if there < frames and options.slice in ("first", "center"):
        sound.check_end()  # for damage behind the clip
    if there < frames and options.slice != "windows":
        notes.append({"first": "cut to the beginning", "center": "cut to the middle"}.get(options.slice, _LOUDEST))
    elif options.slice == "windows" and number + 1 == windows(frames, size) and start + there < frames:
        notes.append("followed by a rest of less than half a clip, left out")
    samples, more = loud(samples, options.gain)
    if there < size:
        more.append("padded with silence")
        before = (size - there) // 2 if options.slice in ("center", "energy") else 0
        samples = np.pad(samples, ((before, size - there - before), (0, 0)))
    return to_int16(samples), notes + more


_LOUDEST = "cut to the loudest part"


def _changes(sound: Sound, channels: int, options: AudioOptions) -> list[str]:
    notes = []
    if channels < sound.channels:
        notes.append(f"mixed down to {'mono' if channels == 1 else 'mono, in both channels'}")
    elif channels > sound.channels:
        notes.append("doubled to stereo")
    if sound.rate != options.rate:
        notes.append(f"resampled to {options.rate:,} Hz")
    return notes


def resampled(sound: Sound, rate: int, start: int, count: int) -> np.ndarray:
    """Frames of a recording at another rate, counted at that rate: [count, channels], whatever lies beside them.

    Raises:
        ValueError: the recording is damaged.
    """
    if sound.rate == rate:
        return sound.read(start, count)
    try:
        import soxr
    except ImportError as error:
        raise UserError(f"resampling needs soxr ({error}): pip install 'ragdist[audio]'") from error
    ratio, margin = Fraction(rate, sound.rate), int(_MARGIN * sound.rate) + 1
    # What is read begins at a frame that is one of the new rate, too.
    first = max(int(start / ratio) - margin, 0) // ratio.denominator * ratio.denominator
    stop = min(int((start + count) / ratio) + margin, sound.frames)
    found = soxr.resample(sound.read(first, stop - first), sound.rate, rate)
    found = found[start - int(first * ratio) :][:count]
    return np.pad(found, ((0, count - len(found)), (0, 0)))  # at the very end rounding may leave out a frame


def mixed(samples: np.ndarray, channels: int) -> np.ndarray:
    """Bring samples [T, c] to so many channels: their mean, or the mono doubled; 0: as they are.

    Of more than two the mean stands for stereo, too: what stands where of 5.1 or 7.1 formats differ about.
    """
    if channels in (0, samples.shape[1]):
        return samples
    with np.errstate(over="ignore"):
        mono = samples.mean(1, keepdims=True, dtype=np.float32)
    return np.repeat(mono, channels, 1)


def loud(samples: np.ndarray, gain: str) -> tuple[np.ndarray, list[str]]:
    """Make a clip as loud as --gain says; and what was done beside it.

    Raises:
        ValueError: it is silent, and is to be made louder; or too loud for a number.
    """
    peak = float(np.abs(samples).max(initial=0))
    if not np.isfinite(peak):  # of channels that were mixed, or resampled
        raise ValueError("it holds numbers that are not finite")
    if gain == "keep":
        notes = ["beyond full scale, clipped"] if peak > 1 else []
        return samples, ["silent"] if peak < SILENT else notes
    if peak < SILENT:
        raise ValueError("it is silent, and cannot be made louder; --gain keep takes it as it is")
    if gain == "peak":
        return samples * np.float32(PEAK / peak), []
    factor = LOUDNESS / float(np.sqrt(np.square(samples, dtype=np.float64).mean()))
    if factor * peak > PEAK:
        return samples * np.float32(PEAK / peak), ["less loud than the others, to fit"]
    return samples * np.float32(factor), []


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Round to 16 bits; what is beyond full scale is clipped."""
    return np.clip(np.rint(np.clip(samples, -1, 1) * 32768.0), -32768, 32767).astype(np.int16)
