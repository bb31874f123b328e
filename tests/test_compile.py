"""--compile: the same gradients and runs from compiled networks, the same files, and one line where it cannot work."""

import json
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ragdist.config import Config, settings
from ragdist.config.run import ObjectiveOptions
from ragdist.data import index as index_file
from ragdist.distributed.world import World
from ragdist.runs.folder import RunFolder
from ragdist.training.trainer import Trainer
from ragdist.training.update import Update
from tests.conftest import TINY, command, refused
from tests.ranks import on_ranks
from tests.test_update import B, a_batch, error, gradients, networks, shape_of

CPU = torch.device("cpu")
UPDATES = 6


@pytest.fixture(autouse=True, scope="module")
def caches(tmp_path_factory):
    """What is compiled here is compiled once, and anew in each run of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv(
            "TORCHINDUCTOR_COMPILE_THREADS", "1"
        )  # more are processes, which take longer to start than to compile
        yield


OPERATORS: set[str] = set()  # of the graphs that were compiled by `plain`


def plain(graph, inputs):
    """A backend of torch.compile that runs the graphs, cut and decomposed as the usual one has them, without a compiler.

    It takes a tenth of the time. Only a whole run, below, waits for kernels.
    """
    from functorch.compile import make_boxed_func, min_cut_rematerialization_partition
    from torch._dynamo.backends.common import aot_autograd
    from torch._inductor.decomposition import select_decomp_table

    def run(part, inputs):
        OPERATORS.update(str(node.target) for node in part.graph.nodes if node.op == "call_function")
        masks = [n for n in part.graph.nodes if n.op == "placeholder" and n.meta["val"].dtype == torch.bool]
        assert len(masks) <= 1, (
            "masks are kept where results would do: they are slow to write"
        )  # D's last result is not
        return make_boxed_func(part.forward)

    return aot_autograd(
        fw_compiler=run,
        bw_compiler=run,
        decompositions=select_decomp_table(),
        partition_fn=min_cut_rematerialization_partition,
    )(graph, inputs)


@pytest.fixture
def without_kernels(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=plain))
    OPERATORS.clear()


def graphs() -> Counter:
    """How many graphs were captured in this process, and how many pieces of them compiled."""
    from torch._dynamo.utils import counters

    return Counter(captured=counters["stats"]["unique_graphs"], compiled=counters["aot_autograd"]["total"])


def updates(family: str, labels: bool, options: ObjectiveOptions, precision: str = "fp32") -> list[Update]:
    """One of the same networks as they are, one of compiled ones."""
    pairs = (networks(family, labels) for _ in range(2))
    return [
        Update(*pair, options, batch_size=B, precision=precision, compile=compile)
        for pair, compile in zip(pairs, (False, True), strict=True)
    ]


@pytest.mark.usefixtures("without_kernels")
@pytest.mark.parametrize(("family", "adversarial"), [
    ("dcgan", "relativistic"), ("resnet", "nonsaturating"), ("spectral", "relativistic"), ("wavegan", "original"),
])  # fmt: skip
def test_compiled_networks_leave_the_same_gradients(family, adversarial):
    eager, compiled = updates(family, True, ObjectiveOptions(adversarial=adversarial, group=8, r1=0.3, r2=0.7))
    assert compiled.state_dict().keys() == eager.state_dict().keys()
    before, batch = graphs(), a_batch(True, shape_of(family))
    for penalty, captured in ((True, 1), (False, 2), (True, 2)):
        expected, s1 = gradients(eager, batch, ("both",), 1.0, penalty)
        found, s2 = gradients(compiled, batch, ("both",), 1.0, penalty)
        for name in expected:
            assert error(found[name], expected[name]) < 1e-5
        assert s1 == pytest.approx(s2, rel=1e-4, abs=1e-6)
        # G, and D on the first update without penalties: neither runs uncompiled, or is compiled twice.
        assert (graphs() - before)["captured"] == captured
    # Kernels for these add up in any order: a run would have other bits each time.
    assert OPERATORS
    assert not [name for name in OPERATORS if "index_put" in name or "scatter_add" in name or "upsample" in name]


@pytest.mark.usefixtures("without_kernels")
def test_compiled_in_both_phases_and_in_feature_space():
    options = ObjectiveOptions(lam=2.0, space="feature", group=8, r1=0.3, r2=0.7)
    eager, compiled = updates("mlp", False, options)
    for penalty in (False, True):
        for phases in (("both",), ("d", "g")):
            expected, _ = gradients(eager, a_batch(False), phases, 2.0, penalty)
            found, _ = gradients(compiled, a_batch(False), phases, 2.0, penalty)
            for name in expected:
                assert error(found[name], expected[name]) < 1e-5


@pytest.mark.usefixtures("without_kernels")
def test_compiled_bfloat16_is_as_near_to_float32_as_uncompiled():
    (exact, _), rounded = updates("mlp", False, ObjectiveOptions()), updates("mlp", False, ObjectiveOptions(), "bf16")
    expected, _ = gradients(exact, a_batch(False), ("both",), 1.0, False)
    uncompiled, compiled = (gradients(update, a_batch(False), ("both",), 1.0, False)[0] for update in rounded)
    for name, value in expected.items():
        assert 0 < error(compiled[name], value) < max(0.02, 1.5 * error(uncompiled[name], value))


def config_of(data: Path, out: Path, *more: str) -> Config:
    # Wide enough for several buckets.
    wide = ["--network.g_width=1024", "--network.d_width=1024", "--batch_size=24", "--objective.group=12"]
    slow = ["--optim.warmup_samples=2000", "--objective.penalty_every=3"]  # see test_world.case
    config, _ = settings.parse([*TINY, *wide, *slow, f"--data={data}", f"--out={out}", *more], "test")
    return config


def train(world: World, config: Config) -> dict:
    """Some updates of a rank: its weights, what was compiled before and then."""
    torch.set_num_threads(1)
    if torch.compile.__module__ == "torch":  # another process than the test's
        torch.compile = partial(torch.compile, backend=plain)
    folder = RunFolder(config.out)
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, world, index_file.load(config.data.path), folder if world.rank == 0 else None)
    said = []
    start = graphs() if config.compile else Counter()
    trainer.prepare(said.append)
    prepared = graphs() - start if config.compile else Counter()
    batches = iter(trainer.loader.batches(0))
    for _ in range(UPDATES):
        trainer.step(trainer.loader.to_device(next(batches), trainer.seen))
    later = graphs() - start - prepared if config.compile else Counter()
    weights = torch.cat([p.detach().flatten() for p in trainer.step.update.parameters()])
    return {"weights": weights.numpy(), "said": said, "prepared": prepared, "later": later}


def away(a: dict, b: dict) -> float:
    return float(np.linalg.norm(a["weights"] - b["weights"]) / np.linalg.norm(b["weights"]))


@pytest.mark.usefixtures("without_kernels")
def test_compiled_runs_are_those_of_uncompiled_ones_on_one_worker_and_on_two(tmp_path, digits):
    uncompiled = train(World(0, 1, CPU), config_of(digits, tmp_path / "a"))
    assert not uncompiled["said"]
    # Micro-batches of 9, 9 and 6.
    parts = ["--objective.group=3", "--optim.micro_batch=9", "--logical_workers=1"]
    compiled = train(World(0, 1, CPU), config_of(digits, tmp_path / "b", "--compile=true", *parts))
    again = train(World(0, 1, CPU), config_of(digits, tmp_path / "c", *parts))
    assert away(compiled, again) < 1e-5
    assert compiled["prepared"]["captured"] == 4  # each network in two sizes
    assert not compiled["later"]
    assert [line.split(" ")[0] for line in compiled["said"]] == ["compiling", "compiled"]
    ranks = on_ranks(2, train, config_of(digits, tmp_path / "d", "--compile=true"))
    assert away(ranks[0], uncompiled) < 1e-5
    alone = train(World(0, 1, CPU), config_of(digits, tmp_path / "e", "--compile=true"))
    for rank in ranks:
        assert np.array_equal(rank["weights"], alone["weights"])
        assert rank["prepared"]["captured"] == 2
        assert not rank["later"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, digits) -> Path:
    """Two runs of ten updates with penalties on every other, with kernels and without."""
    cwd = tmp_path_factory.mktemp("runs")
    options = [*TINY, f"--data={digits}", "--samples=320", "--objective.penalty_every=2", "--optim.warmup_samples=2000"]
    options += ["--network.depth=1"]  # each layer has kernels of its own
    for compile in ("true", "false"):
        result = command("ragdist.train", *options, f"--out={compile}", f"--compile={compile}", cwd=cwd)
        assert result.returncode == 0, result.stderr
        assert ("compiled in" in result.stdout) == (compile == "true")
        assert "leaked" not in result.stderr
    return cwd


def test_a_compiled_run_is_that_of_an_uncompiled_one_and_its_files_do_not_show_it(runs):
    compiled, uncompiled = (torch.load(runs / f"{name}/checkpoints/samples-000000000320/state.pt", weights_only=True)
                            for name in ("true", "false"))  # fmt: skip
    assert not torch.equal(*(torch.cat([w.flatten() for w in s["generator"].values()]) for s in (compiled, uncompiled)))
    for network in ("generator", "discriminator", "ema"):
        assert list(compiled[network]) == list(uncompiled[network])
        for name, weight in uncompiled[network].items():
            torch.testing.assert_close(compiled[network][name], weight, rtol=1e-4, atol=1e-6)
    exported = [load_file(runs / name / "generator.safetensors") for name in ("true", "false")]
    assert exported[0].keys() == exported[1].keys()


def test_a_run_goes_on_without_the_flag(runs, digits):
    result = command(
        "ragdist.train", "--out=true", "--samples=640", "--compile=false", "--data.loader_workers=0", cwd=runs
    )
    assert result.returncode == 0, result.stderr
    assert "continuing from" in result.stdout
    assert "compiling" not in result.stdout
    assert "going on with another --compile True -> False: the same to rounding" in result.stdout
    assert json.loads((runs / "true/summary.json").read_text())["samples"] == 640


def test_without_a_compiler_there_is_one_line_before_data_are_looked_at(tmp_path):
    line = refused(
        command(
            "ragdist.train",
            "--data=nowhere",
            "--out=run",
            "--compile=true",
            cwd=tmp_path,
            CXX="/nowhere/g++",
            PATH="/nowhere",
        )
    )
    assert "--compile true: nothing can be compiled here" in line
    assert "install a C++ compiler" in line
    assert not (tmp_path / "run").exists()
