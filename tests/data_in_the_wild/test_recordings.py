"""Recordings of every kind become clips, with all that was done to them counted, or are refused."""

from pathlib import Path

import numpy as np
import pytest

from tests.data_in_the_wild.cases import Case, check
from tests.data_in_the_wild.making import in_file, in_folder, in_zip, png, tar_of

pytest.importorskip("soundfile", reason="the extra 'audio' is not installed")
pytest.importorskip("soxr", reason="the extra 'audio' is not installed")
from tests.data_in_the_wild.sounds import FRAMES, RATE, sized, sound, tone

OPTIONS = (f"--rate={RATE}", f"--seconds={FRAMES / RATE}", "--format=wav")
WAV = sound()
PEAK, SHAPE = 95, (1, FRAMES)


def kept(*more: str) -> tuple[str, ...]:
    return (*OPTIONS, "--gain=keep", *more)


def one(name: str, data: bytes, says=(), never=("padded", "cut to"), options=OPTIONS, peaks=(PEAK,)) -> Case:
    """A file that becomes one clip."""
    return Case(name, in_folder({name.partition(" ")[0]: data}), {None: 1}, says=says, never=never, options=options,
                peaks=peaks, shape=SHAPE)  # fmt: skip


def bad(name: str, data: bytes, refused: str, options=OPTIONS) -> Case:
    """A file beside a good one that is refused by its name."""
    file = name.partition(" ")[0]
    return Case(name, in_folder({file: data, "b.wav": WAV}), refused=rf"^{file} cannot be read as a clip \({refused}",
                options=options)  # fmt: skip


def stereo(left: float, right: float) -> bytes:
    return sound(samples=np.concatenate([tone(level=left), tone(level=right)], 1))


def with_number(value: float) -> bytes:
    samples = tone()
    samples[5] = value
    return sound(subtype="FLOAT", samples=samples)


def long_file(folder: Path) -> Path:
    """A tone that is loud in its third quarter, in a folder of its own."""
    parts = [tone(FRAMES, level=level) for level in (0.1, 0.2, 0.8, 0.1)]
    (folder / "long.flac").write_bytes(sound("FLAC", samples=np.concatenate([*parts, tone(100)])))
    return folder


QUIET = sound(samples=np.zeros((FRAMES, 1), np.float32))
RATES = (4000, 8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000)
CASES = [
    # Kinds of files.
    one("a.wav", WAV),
    one("a.wav of 24 bits", sound(subtype="PCM_24")),
    one("a.wav of 32 bits", sound(subtype="PCM_32")),
    one("a.wav of 8 bits", sound(subtype="PCM_U8")),
    one("a.wav of floats", sound(subtype="FLOAT")),
    one("a.wav of doubles", sound(subtype="DOUBLE")),
    one("a.wav of mu-law", sound(subtype="ULAW")),
    one("a.wav of A-law", sound(subtype="ALAW")),
    one("a.wav of RF64", sound("RF64")),
    one("a.w64", sound("W64")),
    one("a.aiff", sound("AIFF")),
    one("a.caf", sound("CAF")),
    one("a.au", sound("AU")),
    one("a.sph", sound("NIST")),
    one("a.wav of GSM", sound(subtype="GSM610", samples=tone(1280)), ("cut to the loudest part",), ()),
    one("a.FLAC", sound("FLAC")),
    one("a.ogg", sound("OGG", "VORBIS", rate=8000), says=("resampled to 4,000 Hz: 1 of 1",)),
    one("a.opus", sound("OGG", "OPUS", rate=8000), says=("resampled to 4,000 Hz: 1 of 1",)),
    one("a.mp3", sound("MP3", "MPEG_LAYER_III", rate=8000), says=("resampled to 4,000 Hz: 1 of 1",)),
    one("a.wav that is a FLAC", sound("FLAC")),
    one("a.wav of a pipe, without a size", sized(WAV, 0xFFFFFFFF)),
    one("a.wav with odd chunks before and behind", WAV[:12] + b"LIST\5\0\0\0INFOx\0" + WAV[12:] + b"id3 \3\0\0\0abc\0"),
    # Rates, channels, lengths, loudness.
    *(one(f"a.wav of {rate} Hz", sound(rate=rate), ("resampled",) if rate != RATE else ()) for rate in RATES),
    one("a.wav of 7.1", sound(samples=tone(channels=8)), ("mixed down to mono: 1 of 1",)),
    one("a.wav of two channels, mixed", stereo(0.6, 0.2), ("mixed down",), options=kept(), peaks=(40,)),
    one("a.wav that is short", sound(samples=tone(100)), ("padded with silence: 1 of 1",), ()),
    one("a.wav of three samples", sound(samples=tone(3)), ("padded with silence: 1 of 1",), ()),
    one("a.wav beyond full scale", sound(subtype="FLOAT", samples=tone(level=3.0)), ("beyond full scale, clipped: 1",),
        options=kept(), peaks=(100,)),
    one("a.wav beyond full scale, turned down", sound(subtype="FLOAT", samples=tone(level=3.0)), never=("clipped",)),
    one("a.wav that is silent, kept", QUIET, ("silent: 1 of 1",), options=kept(), peaks=(0,)),
    Case("mono and stereo, as they are", in_folder({"a.wav": WAV, "b.wav": stereo(0.5, 0.5)}),
         refused="clips of different forms: .*mono.*stereo|clips of different forms: .*stereo.*mono",
         options=(*OPTIONS, "--channels=0")),
    Case("mono and stereo", in_folder({"a.wav": WAV, "b.wav": stereo(0.5, 0.5)}), {None: 2}, shape=(2, FRAMES),
         says=("doubled to stereo: 1 of 2",), options=(*OPTIONS, "--channels=2")),
    # Of long recordings.
    Case("the loudest part", long_file, {None: 1}, peaks=(80,), options=kept(), says=("cut to the loudest part: 1 of 1",)),
    Case("the beginning", long_file, {None: 1}, peaks=(10,), options=kept("--slice=first"), says=("cut to the beginning",)),
    Case("the middle", long_file, {None: 1}, peaks=(80,), options=kept("--slice=center"), says=("cut to the middle",)),
    Case("all of it", long_file, {None: 4}, peaks=(10, 20, 80, 10), options=kept("--slice=windows"),
         says=("followed by a rest of less than half a clip, left out: 1 of 4",)),
    Case("windows have their recording's class",
         in_folder({"x/a.wav": sound(samples=tone(3 * FRAMES)), "y/a.wav": sound(samples=tone(FRAMES + 600))}),
         {"x": 3, "y": 2}, options=(*OPTIONS, "--slice=windows"), says=("padded with silence: 1 of 5",)),
    Case("a silent window", in_folder({"a.wav": sound(samples=np.concatenate([tone(), 0 * tone(), tone()]))}),
         refused=r"^a\.wav, clip 2 cannot be read as a clip \(it is silent", options=(*OPTIONS, "--slice=windows")),
    Case("a silent window, left out", in_folder({"a.wav": sound(samples=np.concatenate([tone(), 0 * tone(), tone()]))}),
         {None: 2}, says=("skipped 1 clips", r"a\.wav, clip 2: it is silent"),
         options=(*OPTIONS, "--slice=windows", "--bad=skip")),
    Case("windows of a file that cannot be read", in_folder({"a.wav": b"", "b.wav": WAV}), {None: 1},
         says=(r"a\.wav: it is empty",), options=(*OPTIONS, "--slice=windows", "--bad=skip")),
    # Damage, and what is no sound.
    bad("a.wav of zero bytes", b"", "it is empty"),
    bad("a.wav that is a text", b"hello, world", "it is no sound file"),
    bad("a.wav without samples", sound(samples=tone(0)), "it holds no sound"),
    bad("a.wav cut off", WAV[:-500], "it is cut off: its header says 2,048 bytes of sound, 1,548 are there"),
    bad("a.wav cut off in its header", WAV[:30], "it is no sound file"),
    bad("a.flac cut off", sound("FLAC")[:-60], "it is damaged|it ends after"),
    bad("a.flac cut off behind the clip", sound("FLAC", samples=tone(40000))[:-60], "it is damaged|it ends after",
        (*OPTIONS, "--slice=first")),
    bad("a.flac cut off, in windows", sound("FLAC", samples=tone(40000))[:-60], "it is damaged|it ends after",
        (*OPTIONS, "--slice=windows")),
    bad("a.ogg cut off", sound("OGG", "VORBIS", rate=8000)[:-9], "it is cut off"),
    bad("a.mp3 cut off", sound("MP3", "MPEG_LAYER_III", rate=8000)[:-200], "it is cut off: its header says"),
    bad("a.sph cut off", sound("NIST")[:-9], "it is cut off: its header says 2,048 bytes of sound, 2,039 are there"),
    bad("a.aiff cut off", sound("AIFF")[:-9], "it is cut off"),
    bad("a.wav with NaN", with_number(np.nan), "it holds numbers that are not finite"),
    bad("a.wav with infinity", with_number(np.inf), "it holds numbers that are not finite"),
    bad("a.wav that is silent", QUIET, "it is silent, and cannot be made louder; --gain keep takes it as it is"),
    bad("a.wav of a pointer", b"version https://git-lfs.github.com/spec/v1\noid", "it is a pointer of Git LFS"),
    bad("a.mp3 that is M4A", b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(50), "it is MP4 or M4A, .*convert it"),
    bad("a.wav that is a web page", b"<!DOCTYPE html><html>", "it is a web page"),
    # What lies beside.
    Case("kinds that are not read", in_folder({"a.m4a": b"x", "b.wma": b"x", "c.mp4": b"x"}),
         refused=r"holds no clips that can be read: 1 \.m4a, 1 \.wma, 1 \.mp4 .*ffmpeg -i", options=OPTIONS),
    Case("kinds that are not read beside others", in_folder({"a.m4a": b"x", "b.wav": WAV}), {None: 1},
         says=("ignored 1 files that are no clips", r"but 1 \.m4a .*ffmpeg -i"), options=OPTIONS),
    Case("hidden files", in_folder({"._a.wav": b"Mac OS X", "a.wav": WAV}), {None: 1}, options=OPTIONS),
    Case("sounds and a picture", in_folder({"a.wav": WAV, "b.wav": WAV, "cover.png": png()}), {None: 2},
         says=("ignored 1 files that are no clips, such as cover.png",), options=OPTIONS),
    Case("as many sounds as pictures", in_folder({"a.wav": WAV, "a.png": png()}),
         refused="may hold images or clips: say which with --modality image or --modality audio", options=OPTIONS),
    Case("as many sounds as pictures, and it is said", in_folder({"a.wav": WAV, "a.png": png()}), {None: 1},
         options=(*OPTIONS, "--modality=audio")),
    Case("options of images", in_folder({"a.wav": WAV}), refused="--size: .*holds clips, and it is for images",
         options=(*OPTIONS, "--size=8")),
    Case("values for images", in_folder({"a.wav": WAV}), refused="--channels 3: of clips it is one of 0, 1, 2",
         options=(*OPTIONS, "--channels=3")),
    # Classes.
    Case("folders with one clip each", in_folder({"x/a.wav": WAV, "y/a.wav": WAV}), {"x": 1, "y": 1}, options=OPTIONS),
    Case("classes in names", in_folder({"7_jack_1.wav": WAV, "d/0_jack_1.wav": WAV}), {"0": 1, "7": 1, **dict.fromkeys("123456", 0)},
         options=(*OPTIONS, "--labels=name:^([0-9])_")),
    Case("classes in names of an archive", in_zip({"7_jack_1.wav": WAV, "7_lucas_1.wav": WAV}), {"jack": 1, "lucas": 1},
         options=(*OPTIONS, "--labels=name:_([a-z]+)_")),
    Case("classes in some names", in_folder({"7_jack_1.wav": WAV, "readme.wav": WAV}),
         refused=r"name:\^\(\[0-9\]\)_: 1 of 2 files in .* have no such part in their names, such as readme\.wav$",
         options=(*OPTIONS, "--labels=name:^([0-9])_")),
    Case("classes that would be empty", in_folder({"a_1.wav": WAV, "_2.wav": WAV}),
         refused=r"name:\^\(\[a-z\]\*\)_: 1 of 2 files in .* have no such part in their names, such as _2\.wav$",
         options=(*OPTIONS, "--labels=name:^([a-z]*)_")),
    Case("a pattern without a group", in_folder({"7_1.wav": WAV}), refused="it has no group", options=(*OPTIONS, "--labels=name:7")),
    Case("a pattern that is none", in_folder({"7_1.wav": WAV}), refused="no regular expression", options=(*OPTIONS, "--labels=name:(")),
    Case("a listing", in_folder({"a.csv": "audio,label\nx.wav,one\ny.wav,two\n", "x.wav": WAV, "y.wav": WAV}, source="a.csv"),
         {"one": 1, "two": 1}, options=OPTIONS),
    Case("a tar, in windows", in_file("a.tar", tar_of([("x/a.wav", sound(samples=tone(2 * FRAMES))), ("y/a.wav", WAV)])),
         {"x": 2, "y": 1}, options=(*OPTIONS, "--slice=windows")),
    # Arrays.
    Case("an array that may be anything", lambda folder: array(folder, tone()[:, 0][None]),
         refused=r"holds numbers \[1, 1024\], which may be anything: give --modality audio if it holds clips", options=OPTIONS),
    Case("an array", lambda folder: array(folder, tone()[:, 0][None]), {None: 1}, peaks=(PEAK,),
         options=(*OPTIONS, "--modality=audio")),
    Case("an array of stereo, int16", lambda folder: array(folder, (stereo_array() * 32767).astype(np.int16)), {None: 1},
         shape=(2, FRAMES), options=(*OPTIONS, "--modality=audio", "--channels=2")),
    Case("an array of bytes", lambda folder: array(folder, np.zeros((2, 9), np.uint8)), refused="holds uint8: clips are int16",
         options=(*OPTIONS, "--modality=audio")),
    Case("one recording and no folder", in_file("a.flac", sound("FLAC")), {None: 1}, says=["a.flac is taken for clips"], options=OPTIONS),
]  # fmt: skip


def array(folder: Path, rows: np.ndarray) -> Path:
    np.save(folder / "a.npy", rows)
    return folder / "a.npy"


def stereo_array() -> np.ndarray:
    return tone(channels=2).T[None]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_recordings(case, tmp_path, capsys):
    check(case, tmp_path, capsys)
