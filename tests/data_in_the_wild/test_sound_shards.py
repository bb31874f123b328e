"""Shards with sounds, as others pack them: each format is read, what decoding changes is counted, what would be lost is refused."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.data_in_the_wild.cases import Case, check
from tests.data_in_the_wild.making import png, tar_of
from tests.sounds import FORMATS, encoded, member, tone


def shard(members: Mapping[str, bytes]):
    """Writes one tar of these members; returns its path."""

    def make(folder: Path) -> Path:
        (folder / "s.tar").write_bytes(tar_of(members.items()))
        return folder / "s.tar"

    return make


def wav(frames: int = 1024, channels: int = 1, **how) -> bytes:
    return encoded(tone(0, frames, channels), **how)


def clips(*payloads: bytes, extension: str = "wav", **more: bytes) -> dict[str, bytes]:
    """Samples 0, 1, ... of these payloads; each has ``more`` members by extension."""
    return {
        f"{i}.{kind}": data for i, payload in enumerate(payloads) for kind, data in {extension: payload, **more}.items()
    }


def bad(sound: np.ndarray) -> bytes:
    return encoded(sound, subtype="FLOAT")


ONE, LONG, STEREO = wav(), wav(3000), wav(channels=2)
NAN = tone(0)
NAN[5] = np.nan
TO_MONO, FIVE_SECONDS = "--channels=1", "--seconds=0.256"
WITH_PICTURES = clips(ONE, ONE, png=png())

CASES = [
    *(Case(f"{kind} with labels", shard(clips(member(kind), member(kind, 1), extension=kind, cls=b"2", txt=b"two")), taken={"2": 2}, says=[r"ignored members: 2 \.txt", "--config speech"]) for kind in FORMATS),
    Case("labels in .json beside a transcript", shard(clips(ONE, ONE, json=b'{"text": "ja", "speaker": "ann"}', txt=b"ja")), options=["--label=speaker"], taken={"ann": 2}),
    Case("a shorter clip", shard(clips(ONE, wav(300))), taken={None: 2}, says=["padded with silence: 1 of 2"]),
    Case("a longer clip", shard(clips(ONE, LONG)), refused=r"s\.tar: sample 1 at byte .*longer than the 1,024 samples that the first one, 0 of .*s\.tar, takes: give --seconds 1\.024 for all of it, or --seconds 0\.256 to cut"),
    Case("a longer clip, cut", shard(clips(LONG, ONE, LONG)), options=[FIVE_SECONDS], taken={None: 3}, says=["cut to the beginning: 2 of 3", r"\[1, 1024\]"]),
    Case("a longer clip, left out", shard(clips(ONE, LONG)), options=["--bad=skip"], taken={None: 1}, says=["left out 1 samples"]),
    Case("another rate", shard(clips(ONE, wav(rate=8000))), refused=r"s\.tar: sample 1 at byte .*its rate is 8,000 Hz, and that of the first sample, 0 of .*s\.tar, 4,000: .*--rate 4000"),
    Case("stereo after mono", shard(clips(ONE, STEREO)), refused="it is stereo, and the first sample, 0 of .*, is mono: give --channels 1 or 2"),
    Case("5.1 after mono", shard(clips(ONE, wav(channels=6))), refused="it has 6 channels, and the first"),
    Case("stereo and mono, mixed", shard(clips(ONE, STEREO, STEREO)), options=[TO_MONO], taken={None: 3}, says=["mixed down to mono: 2 of 3"]),
    Case("stereo and mono, doubled", shard(clips(ONE, STEREO, wav(channels=8))), options=["--channels=2"], taken={None: 3}, says=["doubled to stereo: 1 of 3", "mixed down to mono, in both channels: 1 of 3"]),
    Case("7.1 as it is", shard(clips(wav(channels=8))), taken={None: 1}, says=[r"\[8, 1024\]"]),
    Case("24 bits, floats and A-law", shard(clips(ONE, wav(subtype="PCM_24"), wav(subtype="FLOAT"), wav(subtype="ALAW"))), taken={None: 4}),
    Case("pictures and sounds", shard(WITH_PICTURES), refused=r"s\.tar may hold images or clips: say which with --modality image or --modality audio"),
    Case("pictures and some sounds", shard({**WITH_PICTURES, "2.png": png()}), refused="may hold images or clips"),
    Case("pictures and sounds, the sounds", shard(WITH_PICTURES), options=["--modality=audio"], taken={None: 2}, says=[r"ignored members: 2 \.png"]),
    Case("pictures and sounds, the pictures", shard(WITH_PICTURES), options=["--modality=image"], taken={None: 2}, says=[r"ignored members: 2 \.wav"]),
    Case("pictures and sounds, by the ending", shard(WITH_PICTURES), options=["--payload=wav"], taken={None: 2}, says=["read .wav"]),
    Case("several sounds", shard(clips(ONE, extension="mix.wav", **{"voice.wav": wav(300)})), refused=r"no clip but \.mix\.wav, \.voice\.wav: .*--payload mix\.wav"),
    Case("several sounds, one of them", shard(clips(ONE, extension="mix.wav", **{"voice.wav": wav(300)})), options=["--payload=voice.wav"], taken={None: 1}, says=[r"\[1, 512\]"]),
    Case("FLAC beside MP3", shard(clips(member("flac"), extension="flac", mp3=member("mp3"))), taken={None: 1}, says=["read .flac"]),
    Case("a WAV called .mp3", shard(clips(ONE, extension="mp3")), taken={None: 1}),
    Case("M4A", shard(clips(b"\0\0\0 ftypM4A " + bytes(99), extension="m4a")), options=["--modality=audio", "--payload=m4a"], refused="it is MP4 or M4A, which cannot be read here: convert it, as with ffmpeg"),
    Case("AIFF-C", shard(clips(ONE, extension="aifc")), refused=r"it has no clip, only \.aifc; \.aifc is of a kind that is not read here: convert it first"),
    Case("a text called .wav", shard(clips(ONE, b"what is this?" * 9)), refused="sample 1 at byte .*it is no sound file"),
    Case("a WAV of zero bytes", shard(clips(ONE, b"")), refused="sample 1 at byte .*it is empty"),
    Case("a page of the web", shard(clips(ONE, b"<!DOCTYPE html><html>")), refused="sample 1 at byte .*it is a web page and no sound"),
    *(Case(f"{kind} that is cut off", shard(clips(member(kind), member(kind, 1, 1024)[:-90], extension=kind)), refused=r"sample 1 at byte .*(cut off|lost sync)") for kind in FORMATS),
    Case("FLAC that is cut off, left out", shard(clips(member("flac"), member("flac")[:-90], extension="flac")), options=["--bad=skip"], taken={None: 1}, says=["left out 1 samples"]),
    Case("NaN", shard(clips(ONE, bad(NAN))), refused="sample 1 at byte .*numbers that are not finite"),
    Case("silence", shard(clips(ONE, bad(tone(0) * 0))), taken={None: 2}),
    Case("hours", shard(clips(wav(1 << 21, rate=1000))), refused="it lasts 2,097 seconds: say with --seconds how much of it is a sample"),
    Case("hours, cut", shard(clips(wav(1 << 21, rate=1000))), options=["--seconds=1"], taken={None: 1}, says=["cut to the beginning: 1 of 1"]),
    Case("a rate of 100 Hz", shard(clips(wav(rate=100))), refused="its rate is 100 Hz, and 1,000 to 384,000 can be read"),
    Case("one class with one clip", shard({**clips(ONE, ONE, cls=b"0"), "3.wav": ONE, "3.cls": b"1"}), taken={"0": 2, "1": 1}),
]  # fmt: skip


@pytest.mark.parametrize("case", [Case(**{**vars(case), "index": True}) for case in CASES], ids=str)
def test_sound_shards(case, tmp_path, capsys):
    check(case, tmp_path, capsys)
