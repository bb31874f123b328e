"""The judges of the benchmark of the claims, and what it takes as done."""

import json

import pytest
import torch

from benchmarks.claims import game, page, plan, run, toys
from ragdist.config import settings
from ragdist.networks import stft


@pytest.mark.parametrize(("toy", "modes"), [(toys.grid(), 25), (toys.ring(), 8)])
def test_a_toys_own_samples_are_nearly_perfect_and_lost_modes_are_seen(toy, modes):
    samples = toy.draw(torch.Generator().manual_seed(0), 20_000)
    assert samples.abs().max() < 1  # within what generators reach
    judged = toy.judge(samples)
    assert judged["modes"] == modes
    assert judged["high_quality"] == pytest.approx(1 - torch.exp(torch.tensor(-4.5)).item(), abs=0.003)
    assert judged["kl"] < 0.003
    kept = samples[samples[:, 0] > 0.1]
    assert toy.judge(kept)["modes"] < modes
    assert toy.judge(kept)["kl"] > 0.5
    assert toy.judge(samples + 0.1 * torch.randn(samples.shape))["high_quality"] < 0.3


def test_what_is_done_is_done_until_the_plan_changes(tmp_path, monkeypatch):
    cell = plan.cells(["ring"], 1)[0]
    small = plan.Study("ring", "toy:ring", 20, plan.STUDIES["ring"].options, cells=plan.STUDIES["ring"].cells)
    monkeypatch.setitem(plan.STUDIES, "ring", small)
    row = run.train(cell, {})
    assert [look["updates"] for look in row["looks"]] == small.looks == [10, 12, 14, 16, 18, 20]
    assert row["looks"] == run.train(cell, {})["looks"]
    path = tmp_path / "claims.jsonl"
    path.write_text(json.dumps(row) + "\n")
    found = run.read(path)
    assert list(found) == [cell]
    page.write(tmp_path / "page.md", found)
    text = (tmp_path / "page.md").read_text()
    assert "| relativistic | λ = 0 | 1 | " in text
    assert text.count("<!-- end -->") == len(plan.STUDIES)
    page.write(tmp_path / "page.md", found)
    assert (tmp_path / "page.md").read_text() == text
    monkeypatch.setitem(plan.STUDIES, "ring", plan.Study("ring", "toy:ring", 21, small.options, cells=small.cells))
    assert not run.read(path)


def test_clips_are_played_for_with_labels_and_in_their_own_space():
    options = {"network.family": "spectral", "network.g_width": 8, "network.d_width": 8, "network.max_width": 8,
               "network.labels": True, "batch_size": 8, "objective.group": 4}  # fmt: skip
    asked = []

    def draw(random: torch.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(count, 1, 512, generator=random), torch.arange(count) % 3

    def points(clips: torch.Tensor, pool: int) -> torch.Tensor:
        asked.append(len(clips))
        return stft.points(clips, pool)

    config = game.configured(options, 0)
    generator = game.play(config, draw, (1, 512), 2, [], lambda *_: None, classes=3, points=points)
    assert asked == [8] * 4  # reals and fakes of two updates
    assert game.samples(generator, 7, 0, 4).shape == (7, 1, 512)


def test_the_study_of_speech_trains_the_preset_as_long_as_it_says():
    study, preset = plan.STUDIES["speech"], settings.parse(["--config=speech"], "test")[0]
    config = game.configured(plan.cells(["speech"], 1)[1].options(), 0)
    preset.objective.group = 64  # as it had it
    assert (config.network, config.objective, config.optim) == (preset.network, preset.objective, preset.optim)
    assert study.updates * config.batch_size == 12_800


def test_every_pairing_meets_every_loss_somewhere():
    pairings = {plan.Cell("grid", loss, variant, 1.0, 0).options().get("objective.pairing", "cover")
                for loss, variant in plan.STUDIES["grid"].cells}  # fmt: skip
    assert pairings == {"cover", "random", "nearest", "assignment", "all"}
    assert len(plan.STUDIES["grid"].cells) == len(plan.LOSSES) * (len(plan.VARIANTS) - 1)
    everywhere = {variant for study in plan.STUDIES.values() for _, variant in study.cells}
    assert everywhere == set(plan.VARIANTS)
    cells = plan.cells(list(plan.STUDIES), 5)
    assert len(set(cells)) == len(cells)
