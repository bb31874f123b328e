"""The benchmarks measure what they say: loops of equal work, reductions counted, pages that are rewritten."""

import subprocess
import sys

import pytest
import torch

from benchmarks import speech
from benchmarks.all import commands, replaced
from benchmarks.loops import Setup, fabric, loops, modality_of
from benchmarks.parts import Clock, at_their_rhythm, relative_backward
from benchmarks.update import Counter, counted
from ragdist.config import settings
from ragdist.distributed.world import World
from ragdist.launch.session import open_data
from ragdist.runs.open import run_at
from ragdist.tools.errors import UserError
from ragdist.training.trainer import Trainer
from tests.conftest import TINY

SMALL = ["--config", "cifar10", "--batch_size", "8", "--objective.group", "4", "--objective.penalty_every", "2",
         "--network.g_width", "8", "--network.d_width", "8", "--network.max_width", "8"]  # fmt: skip


def test_every_loop_trains_and_costs_what_its_structure_says():
    config, _ = settings.parse(SMALL, "test")
    setup = Setup(config, (3, 8, 8), torch.device("cpu"))
    found = {}
    for title, make in loops(config).items():
        if make is fabric:
            continue
        flops, reduced = counted(setup, make, 2)
        found[title] = flops
        # Both networks once; the tutorial reduces D three times.
        assert reduced == pytest.approx(1.0, abs=0.05) or ("tutorial" in title and reduced > 1.5), title
    # In units of a forward of one network over a batch, a forward and its two backward parts are 3.
    one_pass, alternating = found["one pass, no penalties"], found["alternating, no penalties"]
    assert alternating / one_pass == pytest.approx(12 / 9, rel=0.1)  # 3 G + 6 D, and G once and D twice more
    assert found["tutorial, no penalties"] / one_pass > 1.2
    assert found["one pass, lazy penalties"] < found["R3GAN-style, lazy penalties"]
    assert found["R3GAN-style, lazy penalties"] < found["R3GAN-style, penalties every update"]


def test_loops_of_clips_are_compared_in_their_own_space():
    config, _ = settings.parse([*SMALL, "--network.family", "spectral", "--network.d_width", "16"], "test")
    setup, makers = Setup(config, (1, 1024), torch.device("cpu")), loops(config)
    assert modality_of(config) == "audio"
    assert setup.points(torch.zeros(2, 1, 1024), 8).shape[1] != 8
    one_pass, alternating = (
        counted(setup, makers[title], 2) for title in ("one pass, no penalties", "alternating, no penalties")
    )
    assert [one_pass[1], alternating[1]] == pytest.approx([1.0, 1.0], abs=0.05)
    assert alternating[0] / one_pass[0] == pytest.approx(12 / 9, rel=0.15)


@pytest.mark.parametrize("number", [0, 1, 5, 8])
def test_loops_move_both_networks(number, monkeypatch):
    config, _ = settings.parse(SMALL, "test")
    setup = Setup(config, (3, 8, 8), torch.device("cpu"))
    made = []
    networks = Setup.networks
    monkeypatch.setattr(Setup, "networks", lambda self: made.append(networks(self)) or made[-1])
    title, make = list(loops(config).items())[number]
    if make is fabric:
        pytest.importorskip("lightning_fabric")
    update = make(setup)
    before = [[p.detach().clone() for p in network.parameters()] for network in made[0]]
    for update_number in range(2):
        update(update_number)
    for old, network in zip(before, made[0], strict=True):
        assert any(not torch.equal(a, b) for a, b in zip(old, network.parameters(), strict=True)), title


def test_a_page_gets_the_output_of_its_commands_and_keeps_the_rest(tmp_path):
    good, bad = f"{sys.executable} -c 'print(6 * 7)'", f"{sys.executable} -c 'raise SystemExit(3)'"
    page = tmp_path / "page.md"
    page.write_text(
        f"# Title\n\n<!-- measured: {good} -->\nold\n<!-- end -->\n\nProse.\n\n"
        f"<!-- measured: {bad} -->\nkept\n<!-- end -->\nEnd.\n"
    )
    assert commands(page.read_text()) == [good, bad]
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.all", "--pages", str(page)], capture_output=True, text=True
    )
    assert result.returncode == 1, result.stderr
    assert "exit code 3" in result.stdout
    text = page.read_text()
    assert f"<!-- measured: {good} -->\n```bash\n{good}\n```\n\n42\n<!-- end -->\n\nProse.\n" in text
    assert "\nkept\n" in text
    assert "\nold\n" not in text
    assert replaced(text, good, "42") == text


def test_a_grouped_convolution_has_twice_its_flops_backward():
    layer, x = torch.nn.Conv2d(8, 8, 3, padding=1, groups=4), torch.randn(2, 8, 8, 8, requires_grad=True)
    with Counter() as counter:
        y = layer(x)
        forward = counter.flops
        y.sum().backward()
    assert forward == 2 * 2 * 8 * 64 * 2 * 9
    assert counter.flops == 3 * forward


def test_what_comes_rarely_counts_at_its_rhythm():
    seconds = {"networks": 6.0, "grids": 2.0}
    found = at_their_rhythm(seconds, whole=9.0, samples=100, rhythm={"grids": 400})
    assert found == {"networks": 6.0, "waiting for data, and the loop itself": 1.0, "grids": 0.5}
    assert list(found) == ["networks", "waiting for data, and the loop itself", "grids"]


def test_the_relative_term_has_a_backward_of_its_own(digits, tmp_path):
    config, _ = settings.parse([*TINY, "--data", str(digits), "--out", str(tmp_path / "run")], "test")
    place, index = run_at(config.out), open_data(config)
    with place.leased(config, overwrite=False), place.opened(config) as folder:
        trainer = Trainer(config, World(0, 1, torch.device("cpu")), index, folder)
        assert relative_backward(trainer, Clock(torch.device("cpu")), rounds=1) > 0
        config.objective.lam = 0.0
        assert relative_backward(trainer, Clock(torch.device("cpu")), rounds=1) == 0


def test_a_judge_of_speech_knows_classes_by_their_names():
    words = ("one", "three", "two")  # as the folders of recordings are sorted
    assert speech.as_known(["one", "two", "three"], words) == [0, 2, 1]
    assert speech.as_known(["one", "two"], words) == [0, 2]
    assert speech.as_known(["1", "2", "3"], words) == [0, 1, 2]
    for others in (["1", "2"], ["one", "two", "four"]):
        with pytest.raises(UserError, match="those of the recordings one, three, two"):
            speech.as_known(others, words)
