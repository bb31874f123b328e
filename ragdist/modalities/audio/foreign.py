"""Clips that others packed: what form they have, which of them fit together, and what decoding does to them.

All functions are those of `modalities.base.Making`.
"""

from __future__ import annotations

from ragdist.modalities.audio import sound_file
from ragdist.modalities.audio.options import LEAST_RATE, MOST_RATE, MOST_SECONDS, AudioIndexOptions, length
from ragdist.modalities.base import Form

_MOST_VALUES = 1 << 27  # of a sample, which take a quarter of a gigabyte

_MIXED = {
    (True, 1): "mixed down to mono",
    (True, 2): "mixed down to mono, in both channels",
    (False, 2): "doubled to stereo",
}


def describe(payload: memoryview, options: AudioIndexOptions) -> Form:
    with sound_file.opened(payload) as sound:
        if not LEAST_RATE <= sound.rate <= MOST_RATE:
            raise ValueError(f"its rate is {sound.rate:,} Hz, and {LEAST_RATE:,} to {MOST_RATE:,} can be read")
        seconds = options.seconds or sound.frames / sound.rate
        channels, count = options.channels or sound.channels, length(sound.rate, seconds)
        if seconds > MOST_SECONDS or channels * count > _MOST_VALUES:
            raise ValueError(f"it lasts {seconds:,.0f} seconds: say with --seconds how much of it is a sample")
        return Form((channels, count), {"rate": sound.rate})


def in_words(form: Form) -> str:
    channels, count = form.shape
    name = {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")
    return f"{count:,} samples at {form.spec['rate']:,} Hz, {name}"


def loses(form: Form, options: AudioIndexOptions) -> bool:
    return not (options.seconds and options.channels)  # what nobody asked for: a cut, fewer channels


def notes(payload: memoryview, form: Form) -> tuple[str, ...]:
    channels, count = form.shape
    with sound_file.opened(payload) as sound:
        found = [_MIXED[sound.channels > channels, channels]] if sound.channels != channels else []
        if sound.frames != count:
            found.append("cut to the beginning" if sound.frames > count else "padded with silence")
        if payload[:4] == b"fLaC":  # which another decoder may have let pass
            sound.read(0, min(sound.frames, count))
    return tuple(found)


def refusal(first: tuple[str, Form], other: tuple[str, Form]) -> str:
    """The reason why a sample does not fit the first one: a shorter clip does, with silence behind it."""
    (name, form), (_, odd) = first, other
    rate = form.spec["rate"]
    if odd.spec["rate"] != rate:
        return (
            f"its rate is {odd.spec['rate']:,} Hz, and that of the first sample, {name}, {rate:,}: all must be of one; "
            f"`python -m ragdist.shards SOURCE OUT --rate {rate}` writes such shards, and SOURCE may be a tar"
        )
    if odd.shape[0] != form.shape[0]:
        of = {1: "is mono", 2: "is stereo"}
        here, there = (of.get(shape[0], f"has {shape[0]} channels") for shape in (odd.shape, form.shape))
        return f"it {here}, and the first sample, {name}, {there}: give --channels 1 or 2"
    if odd.shape[1] > form.shape[1]:
        whole, cut = (shape[1] / rate for shape in (odd.shape, form.shape))
        return (
            f"it is longer than the {form.shape[1]:,} samples that the first one, {name}, takes: "
            f"give --seconds {whole:g} for all of it, or --seconds {cut:g} to cut such clips"
        )
    return ""
