"""Features and measures of clips: what is near, what is far, what is counted."""

import importlib.util
import math
import re
import sys
import tarfile
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from ragdist.config.shards import ShardOptions
from ragdist.data.writing.writer import write_shards
from ragdist.evaluation.reference_data import DataSet
from ragdist.metrics.frechet import frechet_distance
from ragdist.metrics.measure import Result
from ragdist.metrics.moments import Moments
from ragdist.modalities import classifier as classifiers
from ragdist.modalities.audio import classified, making, measures, picture, speaker, training
from ragdist.modalities.audio.features import LogMel
from ragdist.modalities.audio.options import AudioOptions
from ragdist.modalities.audio.spectrum import decibels
from ragdist.modalities.base import Form
from ragdist.networks import stft
from ragdist.tools.errors import UserError

RATE, LENGTH = 4_000, 1_024
FORM = Form((1, LENGTH), {"rate": RATE})


def words(count: int, seed: int) -> Tensor:
    """Clips of a tone that rises or falls, with quiet ends: int16 [count, 1, LENGTH]."""
    draw = torch.Generator().manual_seed(seed)
    begin, end, loud = (torch.rand(count, 1, generator=draw) for _ in range(3))
    time = torch.linspace(0, 1, LENGTH)
    pitch = 100 + 300 * (begin + (end - begin) * time)
    waves = torch.sin(2 * math.pi * torch.cumsum(pitch / RATE, 1)) * torch.hann_window(LENGTH) * (0.3 + 0.6 * loud)
    return (waves * 32_000).round().to(torch.int16).unsqueeze(1)


def shuffled(clips: Tensor) -> Tensor:
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    return clips.unflatten(2, (8, -1))[:, :, order].flatten(2)


def moments(clips: Tensor) -> Moments:
    extractor = LogMel(FORM)
    found = Moments.zero(extractor.dim)
    found.add(extractor(clips)[0])
    return found


def test_real_clips_are_near_real_ones_and_all_else_is_far():
    reals = moments(words(400, 0))
    others = words(400, 1)
    noise = (torch.randn(400, 1, LENGTH, generator=torch.Generator().manual_seed(2)) * 3_000).to(torch.int16)
    near = frechet_distance(moments(others), reals)
    far = {
        "silence": torch.zeros_like(others),
        "noise": noise,
        "hiss": noise // 30,
        "shuffled": shuffled(others),
        "with a hiss": others + noise // 100,
        "quiet": others // 4,
    }
    distances = {what: frechet_distance(moments(clips), reals) for what, clips in far.items()}
    assert near < 0.2
    assert min(distances.values()) > 10 * near, distances
    values = LogMel(FORM)(others)[0]
    assert float(values.min()) > -1.01
    assert float(values.max()) < 1.01


def test_spectra_of_many_long_clips_are_made_some_at_a_time(monkeypatch):
    sizes, log_mel = [], stft.log_mel

    def watched(clips: Tensor, *how) -> Tensor:
        sizes.append(clips.numel())
        return log_mel(clips, *how)

    monkeypatch.setattr(stft, "log_mel", watched)
    form = Form((2, 1 << 17), {"rate": 44_100})  # stereo of three seconds
    clips = words(1, 0).repeat(40, 2, form.shape[1] // LENGTH)
    levels = decibels(clips, form, 8)
    assert max(sizes) <= 1 << 23  # a thousand of them at once would take 10 GB
    assert sum(sizes) == clips.numel()
    monkeypatch.undo()
    assert (levels[-1] - decibels(clips[-1:], form, 8)[0]).abs().max() < 1e-3


def faults(fakes: Tensor, reals: Tensor) -> dict[str, tuple[float, str]]:
    result = Result()
    material = SimpleNamespace(fake_samples=fakes, real_samples=reals, form=FORM)
    measures.CLIP_FAULTS.take(material, None, result)
    return {figure.name: (figure.value, figure.ideal) for figure in result.figures}


@pytest.mark.parametrize("length", [1, 2, 4])
def test_clips_of_next_to_nothing_are_seen_and_judged(length):
    form, clips = Form((1, length), {"rate": 8_000}), torch.full((3, 1, length), 9_000, dtype=torch.int16)
    assert LogMel(form)(clips)[0].isfinite().all()
    assert classified.classified(clips, form).shape[:3] == (3, 1, 32)
    assert len(picture.tiles(clips, form)) == 3
    assert faults(clips, clips)["clicks"] == (0, "0")


def test_planted_faults_are_counted():
    reals, fakes = words(200, 0), words(100, 1)
    assert {name: value for name, (value, _) in faults(fakes, reals).items() if name != "end_level"} == {
        "clipped": 0, "silent": 0, "loud_ends": 0, "clicks": pytest.approx(0.01, abs=0.03),
    }  # fmt: skip
    fakes[:10] = (fakes[:10].int() * 5).clamp(-32_768, 32_767).to(torch.int16)
    fakes[10:30] = 2
    fakes[30:60, :, -8:] = 9_000  # the last 2 ms
    fakes[60:64, :, 500] = -30_000
    found = faults(fakes, reals)
    assert found["clipped"] == (0.1, "0")
    assert found["silent"] == (0.2, "0")
    assert 0.3 <= found["loud_ends"][0] <= 0.51  # a constant is as loud at its ends as elsewhere
    assert found["clicks"][0] >= 0.04
    assert found["end_level"][0] > float(found["end_level"][1])


def test_the_classifier_of_clips_hears_their_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(classifiers, "_SEEN", (800, 800))
    monkeypatch.setattr(classifiers, "_FEW", 800)
    import soundfile

    for i, clip in enumerate(words(60, 3)):
        path = tmp_path / "recordings" / "ab"[i % 2] / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = clip[0].numpy() if i % 2 else shuffled(clip[None])[0, 0].numpy()
        soundfile.write(path, wave, RATE)
    asked = {"rate": RATE, "seconds": LENGTH / RATE}
    write_shards(str(tmp_path / "recordings"), tmp_path / "data", ShardOptions(processes=1), asked)
    data = DataSet(str(tmp_path / "data"), tmp_path / "fetched")
    found = classifiers.classifier(data, tmp_path)
    samples, labels = words(40, 4), torch.arange(40) % 2
    heard = torch.where((labels == 0)[:, None, None], shuffled(samples), samples)
    features, logits = found(heard)
    assert features.shape == (40, found.dim)
    assert (logits.argmax(1) == labels).float().mean() > 0.85
    assert found.about["spec"] == {"rate": RATE}
    assert "mel spectra" in found.resizing
    assert classifiers.CLASSIFIER.restore(found.content, "cpu")(heard)[0].equal(features)
    kept = tmp_path / "data" / f"classifier-{data.index.digest}.safetensors"
    assert kept.read_bytes() == found.content
    kept.write_bytes(found.content.replace(b"80 dB", b"81 dB"))  # it sees what today's does not show
    assert classifiers.classifier(data, tmp_path).content == found.content


def test_what_the_classifier_sees_is_moved_in_time_and_made_louder():
    pictures = classified.classified(words(4, 0), FORM)
    assert pictures.dtype == torch.uint8
    assert pictures.shape[:3] == (4, 1, 32)
    silent = classified.classified(torch.zeros(1, 1, LENGTH, dtype=torch.int16), FORM)
    assert not silent.any()
    assert not classified.vary(silent, torch.ones(1, 3).numpy() * 0.99).any()
    same = classified.vary(pictures, torch.full((4, 3), 0.5).numpy())
    assert same.equal(pictures)
    frames = pictures.shape[3]
    later = classified.vary(pictures, torch.tensor([[0.999, 0.5, 0]] * 4).numpy())
    moved = frames // 8
    assert later[..., moved:].equal(pictures[..., :-moved])
    assert not later[..., :moved].any()
    louder = classified.vary(pictures, torch.tensor([[0.5, 1.0, 0]] * 4).numpy())
    there = (pictures > 0) & (pictures < 200)
    assert (louder[there].int() - pictures[there] == 20).all()


def test_a_missing_or_damaged_speaker_encoder_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(speaker, "PACKAGE", "resemblyzer_of_a_test")
    with pytest.raises(UserError, match="pip install --no-deps resemblyzer_of_a_test"):
        speaker.Speaker(FORM, "cpu")
    package = tmp_path / "resemblyzer_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('it is not to be imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(UserError, match="pip install"):
        speaker.Speaker(FORM, "cpu")
    (package / "pretrained.pt").write_bytes(b"no weights")
    with pytest.raises(UserError, match="or is damaged: install"):
        speaker.Speaker(FORM, "cpu")
    state = speaker.SpeakerNetwork().state_dict()
    torch.save({"model_state": state | {"similarity_weight": torch.ones(1)}}, package / "pretrained.pt")
    found = speaker.Speaker(FORM, "cpu")
    features, logits = found(words(3, 0))
    assert logits is None
    assert features.shape == (3, found.dim)
    assert features.norm(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert found(torch.zeros(1, 1, LENGTH, dtype=torch.int16))[0].isfinite().all()
    assert "resemblyzer_of_a_test" not in sys.modules


def test_the_speaker_encoder_reads_the_spectra_that_it_was_trained_on():
    filters = speaker._filters()  # as librosa 0.11 has them at 16 kHz, 400 samples, 40 bands
    values = [filters[3, 1], filters[10, 4], filters[60, 22], filters[150, 37]]
    assert [float(x) for x in values] == pytest.approx([0.008578158, 0.007652725, 0, 0.000417616], abs=1e-9)
    assert list(speaker.starts(16_384)) == [0]
    assert list(speaker.starts(25_600)) == [0]
    assert list(speaker.starts(65_536)) == [0, 77, 154, 231]
    assert speaker.mel_spectra(torch.zeros(2, 16_384)).shape == (2, 160, 40)
    assert speaker.mel_spectra(torch.zeros(1, 65_536)).shape == (1, 391, 40)
    sine = torch.sin(2 * math.pi * 1_000 * torch.arange(25_600) / 16_000)[None]
    assert speaker.mel_spectra(sine)[0, 80].argmax() == speaker._filters()[25].argmax()  # 1,000 Hz is bin 25


def test_of_two_clips_the_speaker_is_heard(test_data):
    """With the trained weights, where they are installed."""
    if not importlib.util.find_spec(speaker.PACKAGE) or not (test_data / "fsdd-train.tar.gz").is_file():
        pytest.skip("resemblyzer is not installed, or there are no recordings")
    form, clips, speakers = Form((1, 8_192), {"rate": 8_000}), [], []
    with tarfile.open(test_data / "fsdd-train.tar.gz") as tar:
        for member in tar:
            if found := re.search(r"/\d_([a-z]+)_1\d\.wav$", member.name):
                encoded = making.encode(tar.extractfile(member).read(), AudioOptions(8_000, 1.0))
                clips.append(training.decode(torch.frombuffer(bytearray(encoded.data), dtype=torch.uint8), form))
                speakers.append(found[1])
    names = sorted(set(speakers))
    numbers = torch.tensor([names.index(name) for name in speakers])
    features, _ = speaker.Speaker(form, "cpu")(torch.stack(clips))
    means = torch.stack([features[numbers == k][::2].mean(0) for k in range(len(names))])
    assert (len(names), (features @ means.T).argmax(1).eq(numbers)[1::2].float().mean() > 0.8) == (6, True)
