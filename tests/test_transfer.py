"""Runs that start from another run's weights: what is matched, who reads it, what a run is then, what is refused."""

import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ragdist import train as train_command
from ragdist.config import Config, settings
from ragdist.config.shards import ShardOptions
from ragdist.data import index as index_file
from ragdist.data.writing.writer import write_shards
from ragdist.distributed.world import World
from ragdist.generation import generator_file
from ragdist.launch import source as launch_source
from ragdist.networks import FAMILIES
from ragdist.networks.base import Stage
from ragdist.networks.build import build_discriminator, build_generator
from ragdist.runs import checkpoint
from ragdist.runs.folder import RunFolder
from ragdist.runs.mirror import RemoteFolder
from ragdist.tools.errors import UserError
from ragdist.training import transfer, transfer_source
from ragdist.training.schedule import ema_decay
from ragdist.training.transfer import CLASSES, NO_D, NO_SIZE, SHAPE, Layout
from tests.conftest import TINY, refused_here
from tests.ranks import on_ranks
from tests.servers import free_port
from tests.test_networks import SHAPES, options
from tests.test_world import prepared, train
from tune import plan as plans
from tune import run as search_run
from tune.options import SearchOptions

CPU = torch.device("cpu")
DCGAN = ["--network.family", "dcgan", "--network.g_width", "8", "--network.d_width", "8"]


# What is matched.

SHAPE_OF = st.lists(st.integers(1, 3), max_size=2).map(tuple)
NAMES = ["a.0.w", "a.1.w", "a.2.w", "b.w", "embed.weight"]
BASES = {(3, 2): {"z": range(2)}, (3, 4): {"z": range(2), "labels": range(2, 4)}, (2, 2): {"z": range(2)}}
TENSORS = st.tuples(st.dictionaries(st.sampled_from(NAMES), SHAPE_OF), st.sampled_from(list(BASES))).map(
    lambda drawn: drawn[0] | {"base.weight": drawn[1]}
)


@given(TENSORS, TENSORS, st.booleans(), st.booleans())
def test_each_tensor_is_loaded_fresh_or_refused_once(mine, theirs, grow, same):
    def with_stages(shapes: dict, order: list[int]) -> Layout:
        stages = [Stage(4 << size, {"a": f"a.{number}"}) for number, size in enumerate(order)]
        return Layout(shapes, [Stage(0, {"base": "base"}), *stages], BASES[shapes["base.weight"]])

    target, source = with_stages(mine, [0, 1, 2]), with_stages(theirs, [2, 1, 0])
    found = transfer.match(target, source, grow=grow, same_classes=same)
    assert sorted([*found.loaded, *found.fresh]) == sorted(mine)
    assert sorted([*found.loaded.values(), *found.refused]) == sorted(theirs)
    mirrored = {"a.0.w": "a.2.w", "a.2.w": "a.0.w"} if grow else {}
    for name, other in found.loaded.items():
        assert other == mirrored.get(name, name)
        assert mine[name] == theirs[other] or name in found.partly
        assert same or name != "embed.weight"
    states = [{name: torch.rand(shape) for name, shape in side.items()} for side in (mine, theirs)]
    taken = transfer.taken(*states, found)
    assert all(torch.equal(taken[name], states[0][name]) for name in found.fresh)
    whole = found.loaded.keys() - found.partly.keys()
    assert all(torch.equal(taken[name], states[1][found.loaded[name]]) for name in whole)


def networks(family: str, shape: tuple[int, ...], classes: int = 0, **more):
    chosen = options(family) | more
    return build_generator(chosen, shape, classes), build_discriminator(chosen, shape, classes)


# Of a family a shape, and a larger one with the widths that keep those of equal sizes; how many more stages it has.
GROWN = {
    "dcgan": ((1, 16, 16), (1, 32, 32), 1),
    "resnet": ((1, 16, 16), (1, 64, 64), 2),
    "resnet1d": ((2, 32), (2, 64), 1),
    "spectral": ((1, 1024), (1, 2048), 1),
    "wavegan": ((1, 1024), (1, 4096), 1),
}


@pytest.mark.parametrize("family", GROWN)
def test_what_works_at_an_equal_size_is_kept(family):
    small, large, more = GROWN[family]
    fixed = {"window": 32} if family == "spectral" else {}
    for place in (0, 1):
        there = networks(family, small, g_width=8 << more, d_width=8 << more, max_width=64, **fixed)[place]
        here = networks(family, large, max_width=64, **fixed)[place]
        mine, theirs = transfer.layout(here), transfer.layout(there)
        assert len(mine.stages) == len(theirs.stages) + more
        found = transfer.match(mine, theirs, grow=True)
        here.load_state_dict(transfer.taken(here.state_dict(), there.state_dict(), found))
        kept = {stage.size: stage.modules for stage in theirs.stages}
        common = [stage for stage in mine.stages if stage.size in kept]
        assert len(common) >= len(theirs.stages) - 1
        for size, modules in common:
            for purpose in modules.keys() & kept[size].keys() - {"out", "stem"}:
                ours, other = here.get_submodule(modules[purpose]), there.get_submodule(kept[size][purpose])
                assert transfer_equal(ours, other), (size, purpose)
        places = {module: (size, purpose) for size, modules in mine.stages for purpose, module in modules.items()}
        for name, why in found.fresh.items():
            size, purpose = next(place for module, place in places.items() if name.startswith(f"{module}."))
            assert purpose not in kept.get(size, {})
            assert why.kind == NO_SIZE


def transfer_equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


def test_names_of_d_that_move_with_the_size_are_not_matched_by_name():
    small, large = (networks("resnet", (1, size, size), d_width=32)[1] for size in (16, 32))
    found = transfer.match(transfer.layout(large), transfer.layout(small), grow=True)
    assert found.loaded["stages.1.0.widen.weight"] == "stages.0.0.widen.weight"
    assert found.loaded["read.weight"] == "read.weight"
    assert {found.fresh[name].kind for name in found.fresh if name.startswith("stages.0")} == {NO_SIZE}


def test_the_latent_s_columns_are_kept_where_labels_join_or_leave():
    plain, labelled = networks("dcgan", (1, 16, 16)), networks("dcgan", (1, 16, 16), 5)
    for mine, theirs in ((labelled, plain), (plain, labelled)):
        found = transfer.match(transfer.layout(mine[0]), transfer.layout(theirs[0]))
        assert found.partly == {"base.weight": [(range(8), range(8))]}
        taken = transfer.taken(mine[0].state_dict(), theirs[0].state_dict(), found)["base.weight"]
        assert torch.equal(taken[:, :8], theirs[0].base.weight[:, :8])
        assert torch.equal(taken[:, 8:], mine[0].base.weight[:, 8:])
    other = networks("dcgan", (1, 16, 16), z_dim=4)[0]
    found = transfer.match(transfer.layout(plain[0]), transfer.layout(other))
    assert found.fresh["base.weight"].kind == found.refused["base.weight"].kind == SHAPE


def test_other_labels_have_fresh_embeddings():
    mine, theirs = (transfer.layout(networks("mlp", (1, 8, 8), 5)[0]) for _ in range(2))
    assert not transfer.match(mine, theirs).fresh
    found = transfer.match(mine, theirs, same_classes=False)
    assert {name: why.kind for name, why in found.fresh.items()} == {"embed.weight": CLASSES}


def test_the_table_says_what_is_loaded_fresh_and_refused():
    mine, theirs = Layout({"a.w": (2, 3), "b.w": (4,), "c.w": (5,)}), Layout({"a.w": (2, 3), "b.w": (7,), "d.w": (1,)})
    assert transfer.table({"G": (transfer.match(mine, theirs), mine, theirs)}) == [
        "              tensors  numbers",
        "  G  loaded         1        6",
        "     fresh          1        4  other shape, as b.w [4] and there [7]: b",
        "     fresh          1        5  no such name: c",
        "     refused        1        7  other shape, as b.w [4] and there [7]: b",
        "     refused        1        1  no such name: d",
    ]


# What is frozen.


@pytest.mark.parametrize("family", FAMILIES)
def test_stages_nearest_the_input_are_frozen(family):
    shape = (2, 1024) if family in SHAPES else (3, 16, 16)
    d = networks(family, shape, 5)[1]
    stages = d.by_size()
    for count in range(len(stages) + 1):
        d.requires_grad_(True)
        frozen = transfer.freeze(d, count)
        x = torch.randn(2, *shape, requires_grad=True)
        d.zero_grad(set_to_none=True)
        d(x, torch.tensor([0, 1])).sum().backward()
        assert x.grad is not None
        without = {name for name, parameter in d.named_parameters() if parameter.grad is None}
        assert without == frozen
        assert len({name.rpartition(".")[0] for name in frozen}) >= count
        assert "head.weight" not in frozen
    with pytest.raises(UserError, match=rf"^--freeze_d {count + 1}: this D has {count} stages: give at most so many$"):
        transfer.freeze(d, count + 1)


# Runs. A source of a few updates, and configurations that start from it.


def config_of(data: Path, out: Path, *more: str) -> Config:
    words = [*TINY, *DCGAN, "--network.labels=true", f"--data={data}", f"--out={out}", "--samples=128", *more]
    return launch_source.of_run(settings.parse(words, "test")[0], overwrite=False)


def run(config: Config) -> RunFolder:
    """Train in this process, with a configuration beside it as a command writes it."""
    torch.set_num_threads(1)
    train(World(0, 1, CPU), config)
    folder = RunFolder(config.out)
    folder.config.write_text(settings.dumps(config))
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory, digits) -> RunFolder:
    return run(config_of(digits, tmp_path_factory.mktemp("source") / "run", "--export_d=true"))


@pytest.fixture(scope="module")
def digits16(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data") / "digits16"
    write_shards("digits", out, ShardOptions(), {"size": 16})
    return out


def state_of(folder: RunFolder) -> dict:
    return checkpoint.load_newest(folder.checkpoints, CPU)[0].state


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_starts_from_another_s_g_d_and_average(tmp_path, digits, source):
    config = config_of(digits, tmp_path / "run", f"--init_from={source.path}", "--seed=5")
    trainer, monitor = prepared(World(0, 1, CPU), config)
    monitor.close()
    saved = state_of(source)
    assert same(trainer.generator.state_dict(), saved["generator"])
    assert same(trainer.discriminator.state_dict(), saved["discriminator"])
    assert same(trainer.ema.state_dict(), saved["ema"])
    assert not same(saved["generator"], saved["ema"])
    assert trainer.seen == 0
    head, *table = trainer.notes
    assert head == f"starting from {source.path} after 128 images (weights {config.init_sha256[:12]})"
    assert not [line for line in table if "fresh" in line or "refused" in line]
    # A good average is not forgotten at once, as one that begins with nothing.
    before = [weight.clone() for weight in trainer.ema.parameters()]
    trainer.train(Silent(), lambda: trainer.seen >= 32)
    keep = ema_decay(32, 32, config.optim.ema_samples, 0.0)
    for old, new, weight in zip(before, trainer.ema.parameters(), trainer.generator.parameters(), strict=True):
        torch.testing.assert_close(new, old * keep + weight * (1 - keep))


class Silent:
    """A monitor that shows nothing."""

    def __getattr__(self, name: str):
        return lambda *_, **__: None


def test_a_file_gives_the_average_and_d_where_it_has_one(tmp_path, digits, source):
    saved, lean = state_of(source), tmp_path / "lean"
    file = run(replace(config_of(digits, lean), init_from="", export_d=False)).generator
    with_d = generator_file.load(source.generator, CPU)
    assert same(with_d.discriminator, saved["discriminator"])
    assert same(with_d.generator.state_dict(), saved["ema"])
    assert with_d.about["version"] == 2, "older versions say that they do not know it, and not that it is damaged"
    assert generator_file.load(file, CPU).about["version"] == 1
    assert generator_file.load(file, CPU).discriminator is None
    trainers = []
    for path in (source.generator, file):
        config = config_of(digits, tmp_path / path.parent.name / "new", f"--init_from={path}")
        trainer, monitor = prepared(World(0, 1, CPU), config)
        monitor.close()
        trainers.append(trainer)
    assert "average alone" in trainers[0].notes[0]
    assert same(trainers[0].generator.state_dict(), saved["ema"])
    assert same(trainers[0].discriminator.state_dict(), saved["discriminator"])
    assert not same(trainers[1].discriminator.state_dict(), saved["discriminator"])
    assert any(NO_D in line for line in trainers[1].notes)
    config = config_of(digits, tmp_path / "frozen", f"--init_from={file}", "--freeze_d=1")
    with pytest.raises(
        UserError, match="what is fresh must be trained: give a run, or a file written with --export_d true"
    ):
        prepared(World(0, 1, CPU), config)


FROZEN = ("--freeze_d=1", "--objective.r1=1", "--objective.r2=1", "--objective.penalty_every=2")


def started(digits: Path, out: Path, source: RunFolder) -> list[Config]:
    common = (f"--init_from={source.path}", "--seed=3", "--samples=64", "--logical_workers=4", *FROZEN)
    others = ("--optim.update=alternating", "--network.labels=false")
    return [config_of(digits, out / "one_pass", *common), config_of(digits, out / "alternating", *common, *others)]


def train_each(world: World, configs: list[Config]) -> list[tuple[str, bytes]]:
    found = [train(world, config) for config in configs]
    return [(one["sha"], one["weights"].tobytes()) for one in found]


def test_the_bits_are_those_of_one_process(tmp_path, digits, source):
    torch.set_num_threads(1)
    alone = train_each(World(0, 1, CPU), started(digits, tmp_path / "alone", source))
    for size in (2, 3):
        found = on_ranks(size, train_each, started(digits, tmp_path / f"{size}", source))
        assert all(of_rank == alone for of_rank in found), size
    before, after = (state_of(RunFolder(path))["discriminator"] for path in (source.path, tmp_path / "alone/one_pass"))
    held = {name for name in before if torch.equal(before[name], after[name])}
    assert held == {"stem.weight", "stem.bias", "head.bias"}, "frozen; the loss of pairs does not see the last one"


def test_a_run_goes_on_without_its_source(tmp_path, digits, source):
    place = tmp_path / "moved"
    shutil.copytree(source.path, place)
    words = [*TINY, *DCGAN, "--network.labels=true", f"--data={digits}", f"--out={tmp_path / 'run'}", *FROZEN]
    start = [*words, "--checkpoint.every=64", f"--init_from={place}"]
    assert train_command.main([*start, "--samples=64"]) == 0
    whole = [*words, "--samples=128", f"--init_from={source.path}", f"--out={tmp_path / 'whole'}"]
    assert train_command.main(whole) == 0
    # Other weights, by whatever name; none; the same ones from elsewhere; from where they were, where nothing is now.
    other = run(config_of(digits, tmp_path / "other", "--seed=9"))
    line = refused_here(train_command.main, *words, "--samples=128", f"--init_from={other.path}")
    assert re.search(f"started with the weights .* --init_from {re.escape(str(other.path))} has others", line)
    line = refused_here(train_command.main, "--config=digits", *words[:-4], "--samples=128")
    assert "init_sha256" in line
    assert train_command.main([*words, "--samples=96", f"--init_from={source.path}"]) == 0
    shutil.rmtree(place)
    assert train_command.main([f"--out={tmp_path / 'run'}", f"--init_from={source.path}", "--samples=96"]) == 0
    assert train_command.main([*words, "--samples=128", f"--init_from={source.path}"]) == 0
    mine, theirs = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("run", "whole"))
    assert mine["weights_sha256"] == theirs["weights_sha256"]
    line = refused_here(
        train_command.main, f"--out={tmp_path / 'other'}", "--samples=256", f"--init_from={source.path}"
    )
    assert "started from no other run's weights" in line


def test_a_source_that_changed_is_refused_by_its_digest(tmp_path, digits, source):
    config = config_of(digits, tmp_path / "run", f"--init_from={source.path}")
    assert config.init_sha256 == transfer_source.read(str(source.path)).sha256
    words = f"--init_from={source.path}", f"--init_sha256={'0' * 64}"
    with pytest.raises(UserError, match=f"have the SHA-256 {config.init_sha256}"):
        config_of(digits, tmp_path / "run", *words)
    with pytest.raises(UserError, match="this configuration says 1"):
        prepared(World(0, 1, CPU), replace(config, init_sha256="1"))


@contextmanager
def served(root: Path) -> Iterator[str]:
    """A web server over a folder, which says in HTML what is in it."""
    handler = partial(SimpleHTTPRequestHandler, directory=root)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("kind", ["s3", "http"])
def test_a_url_is_read_through_the_storage_layer(tmp_path, digits, source, request, kind):
    if kind == "s3":
        request.getfixturevalue("s3")
        remote = RemoteFolder("s3://bucket/source-of-transfer")
        for file in source.path.rglob("*"):
            if file.is_file():
                remote.put(file, str(file.relative_to(source.path)))
        found = transfer_source.read("s3://bucket/source-of-transfer/")
        assert found.sha256 == transfer_source.read(str(source.path)).sha256
        file = transfer_source.read("s3://bucket/source-of-transfer/generator.safetensors")
    else:
        with served(source.path.parent) as url:
            found = transfer_source.read(f"{url}/run")
            file = transfer_source.read(f"{url}/run/generator.safetensors")
            with pytest.raises(UserError, match=f"^--init_from: there is no run at {url}/nothing"):
                transfer_source.read(f"{url}/nothing")
    assert same(found.weights["ema"], state_of(source)["ema"])
    assert file.sha256 == transfer_source.read(str(source.generator)).sha256


def test_a_search_passes_the_source_on_to_its_trials(tmp_path, digits, source, monkeypatch):
    monkeypatch.chdir(source.path.parent)
    words = [*TINY, *DCGAN, "--network.labels=true", f"--data={digits}", "--init_from=run", "--freeze_d=1", "--out=run"]
    plan = plans.make(settings.parse(words, "test")[0], SearchOptions(), [])  # --out is the search's, for its trials
    understood, _ = search_run._understood_everywhere(plan, tmp_path / "search")
    trial = understood.trial_config({"objective.lam": 0.0}, 1, tmp_path / "trial", 64)
    expected = transfer_source.read(str(source.path))
    assert (trial.init_from, trial.init_sha256, trial.freeze_d) == (str(source.path), expected.sha256, 1)
    trainer, monitor = prepared(World(0, 1, CPU), trial)
    monitor.close()
    assert same(trainer.ema.state_dict(), expected.weights["ema"])


# Refusals, each in a line.


def test_growing_a_run(tmp_path, digits, digits16, source):
    widths = "--network.g_width=4", "--network.d_width=4"
    common = f"--init_from={source.path}", "--samples=64"
    with pytest.raises(UserError, match=r"\[1, 8, 8\], and these data are \[1, 16, 16\]: give --init_map grow"):
        prepared(World(0, 1, CPU), config_of(digits16, tmp_path / "a", *common))
    with pytest.raises(UserError, match=r"to keep the widths of .* give --network.g_width 4 --network.d_width 4"):
        prepared(World(0, 1, CPU), config_of(digits16, tmp_path / "b", *common, "--init_map=grow"))
    config = config_of(digits16, tmp_path / "c", *common, *widths, "--init_map=grow")
    trainer, monitor = prepared(World(0, 1, CPU), config)
    saved = state_of(source)
    assert torch.equal(trainer.generator.up[0].weight, saved["generator"]["up.0.weight"])
    assert torch.equal(trainer.ema.up[0].weight, saved["ema"]["up.0.weight"])
    assert torch.equal(trainer.discriminator.down[1].weight, saved["discriminator"]["down.0.weight"])
    assert trainer.train(monitor).finished
    monitor.close()
    with pytest.raises(UserError, match=r"--freeze_d 1: stem.bias is not from .* \(no such size\)"):
        prepared(
            World(0, 1, CPU), config_of(digits16, tmp_path / "d", *common, *widths, "--init_map=grow", "--freeze_d=1")
        )


def test_what_does_not_fit_is_one_line(tmp_path, digits, digits16, source, monkeypatch):
    def line(*words: str, data: Path = digits) -> str:
        with pytest.raises(UserError) as error:
            prepared(World(0, 1, CPU), config_of(data, tmp_path / "run", f"--init_from={source.path}", *words))
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "of the family dcgan, and this run's of mlp: give --network.family dcgan" in line("--network.family=mlp")
    assert "nothing of its G fits (other shape, as " in line("--network.g_width=16", "--network.z_dim=16")
    assert "--freeze_d 9: this D has 2 stages" in line("--freeze_d=9")
    colours = tmp_path / "colours"
    write_shards("digits", colours, ShardOptions(), {"channels": 3})
    assert "of 1 channels, and these data are [3, 8, 8], of 3: give a source with as many" in line(data=colours)
    index = index_file.load(digits)
    file = tmp_path / "clips.safetensors"
    network = vars(settings.parse([*TINY, "--network.family=wavegan"], "test")[0].network)
    clips = replace(index, codec="audio", shape=(1, 64), spec={"rate": 8000}, classes=())
    generator_file.save(file, build_generator(network | {"labels": False}, (1, 64), 0), network, clips, 1)
    with pytest.raises(UserError, match=r"it makes clips, and .* holds images: give a source of images"):
        prepared(World(0, 1, CPU), config_of(digits, tmp_path / "run", f"--init_from={file}"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--init_from=nowhere"], r"--init_from: no run and no file at .*nowhere"),
        (["--init_from=.", "--out=run"], r"--init_from: .* holds no generator.safetensors, which a run has"),
        (["--init_from=a.csv", "--out=run"], r"--init_from: .*a.csv is no run's folder, and no generator file"),
        (["--init_from=run/generator.safetensors", "--out=run"], "it is the run of --out"),
        (["--freeze_d=1"], "--freeze_d 1: it is about weights that a run starts from: give --init_from, too"),
        (["--init_map=grow"], "--init_map grow: it is about weights"),
        (["--init_from=ftp://there/run"], "a path, or a URL that starts with"),
        ([f"--init_from=http://127.0.0.1:{free_port()}/x.safetensors"], "--init_from: "),
    ],
)
def test_mistakes_are_one_line(tmp_path, digits, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").touch()
    monkeypatch.setattr("ragdist.storage.retry.ATTEMPTS", 1)
    with pytest.raises(UserError, match=says):
        train_command.main([*TINY, f"--data={digits}", *words])
    assert not (tmp_path / "run").exists()


def test_runs_of_earlier_versions_are_sources():
    for version in ("0.1.0", "0.2.0"):
        folder = Path(__file__).parent / "golden" / version / "finished"
        found = transfer_source.read(str(folder))
        assert found.samples == 3200
        assert found.weights.keys() >= {"ema"}
