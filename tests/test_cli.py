"""The command line: presets, files, short options, and one clear line for every mistake."""

import re
import subprocess
import sys
from dataclasses import dataclass

import pytest
import yaml

from ragdist.config import Config, cli, helptext, settings
from ragdist.config.run import flat
from ragdist.tools.errors import UserError
from tests.conftest import TINY, command, refused

TRAIN = "ragdist.train"


def parsed(*argv: str) -> Config:
    return settings.parse(list(argv), "train")[0]


def test_defaults_preset_file_and_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parsed().out == "runs/digits"
    assert parsed().network.labels
    config = parsed("--config", "cifar10", "--data", "here", "--objective.lam", "3", "--samples=1_000")
    assert (config.out, config.data.path, config.objective.lam, config.samples) == ("runs/cifar10", "here", 3.0, 1000)
    (tmp_path / "mine.yaml").write_text("batch_size: 48\nobjective: {lam: 0.5}\n")
    config = parsed("--config=mine.yaml", "--objective.lam=0.25")
    assert (config.out, config.batch_size, config.objective.lam) == ("runs/mine", 48, 0.25)


def test_a_printed_configuration_is_a_configuration(tmp_path):
    printed = command(TRAIN, "--config=cifar10", "--optim.g_lr=0.003", "--print_config", cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    (tmp_path / "again.yaml").write_text(printed.stdout)
    again = parsed("--config", str(tmp_path / "again.yaml"), "--out", "runs/cifar10")
    assert flat(again) == flat(parsed("--config=cifar10", "--optim.g_lr=0.003"))
    assert yaml.safe_load(settings.dumps(again))["optim"]["g_lr"] == 0.003


@pytest.mark.parametrize("preset", cli.presets())
def test_presets_are_valid_and_every_difference_is_seen(preset, tmp_path):
    config = parsed("--config", preset)
    (tmp_path / "config.yaml").write_text(settings.dumps(config))
    saved = settings.read(tmp_path / "config.yaml")
    assert saved == flat(config)
    assert settings.differences(config, saved) == []
    for key, value in flat(config, free=False).items():
        assert len(settings.differences(config, saved | {key: f"not {value}"})) == 1


def test_a_runs_own_configuration_is_the_base_where_none_is_named(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(settings.dumps(parsed("--config=cifar10", "--seed=9")))
    assert parsed("--out", str(tmp_path / "run")).seed == 9
    assert parsed("--config=digits", "--out", str(tmp_path / "run")).seed == 0


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--objective.lm=3"], "unknown option --objective.lm; did you mean --objective.lam?"),
        (["--lam=3"], "did you mean --objective.lam?"),
        (["--bach_size=3"], "did you mean --batch_size?"),
        (["--objective.pairing=covr"], "did you mean 'cover'?"),
        (
            ["--objective.pairing=xyz"],
            "there is no pairing 'xyz' here or in a --plugin; there are: cover, nearest, random, assignment, all",
        ),
        (["--network.family=resnett"], "did you mean 'resnet'?"),
        (["--config=cifar"], "did you mean 'cifar10'?"),
        (["--config=nowhere.yaml"], "there is no such file"),
        (["--config"], "--config needs a name"),
        (["--samples=many"], "--samples: 'many' is not a whole number"),
        (["--samples=0"], "--samples 0: it must be at least 1"),
        (["--optim.g_lr=fast"], "--optim.g_lr: 'fast' is not a number"),
        (["--optim.g_lr=-1"], "--optim.g_lr -1.0: it must be above 0"),
        (["--objective.relative=perhaps"], "--objective.relative: 'perhaps' is not true or false"),
        (["--objective.p=3"], "--objective.p: '3' is not one of 1, 2"),
        (["--objective.lam_schedule=linear"], "--objective.lam_samples 0: it must be above 0"),
        (["--workers=4:2"], "--workers 4:2: it must be auto, 0 (this process), a number as 4, or a range as 2:8"),
        (["--gpus_per_worker=2"], "--gpus_per_worker 2: it must be 1, 0 or -1"),
        (["--precision=fp16"], "is not one of fp32, tf32, bf16"),
        (["stray"], "stray"),
        (["--samples"], "--samples"),
    ],
)
def test_mistakes(argv, says):
    with pytest.raises(UserError) as error:
        parsed(*argv)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("objectiv: {lam: 3}", "objectiv"),
        ("objective: {lamm: 3}", "lamm"),
        ("images: many", "samples"),
        ("images: [", "bad.yaml"),
        ("- 1\n- 2", ""),
    ],
)
def test_mistakes_in_a_file(tmp_path, content, says):
    (tmp_path / "bad.yaml").write_text(content)
    line = refused(command(TRAIN, "--config=bad.yaml", cwd=tmp_path))
    assert says in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data=nowhere"], "no data folder at nowhere"),
        (["--data=empty"], "holds no shards"),
        (["--data={digits}", "--batch_size=4000"], "the data hold 1797 samples"),
        (["--data={digits}", "--batch_size=97", "--objective.group=32"], "choose another batch size"),
        (["--data={digits}", "--batch_size=64", "--objective.group=32", "--optim.micro_batch=8"], "at least 32"),
        (["--data={digits}", "--device=cuda:99"], "--device cuda:99"),
        (["--data={digits}", "--device=tpuu"], "--device tpuu"),
        (["--data={digits}", "--out=/proc/nowhere"], "cannot write the run"),
        (["--data={flat}", "--network.labels=true"], "have no labels"),
        (["--data={odd}", "--config=cifar10", "--batch_size=2"], "make the shards with --size"),
        (["--data=x", "--data.source=nowhere"], "no source 'nowhere'"),
    ],
)
def test_mistakes_that_only_the_data_or_the_machine_show(tmp_path, digits, arguments, says):
    from ragdist.config.shards import ShardOptions
    from ragdist.data.writing.writer import write_shards
    from tests.conftest import encoded, picture

    (tmp_path / "empty").mkdir()
    (tmp_path / "pictures").mkdir()
    for i in range(4):
        (tmp_path / "pictures" / f"{i}.png").write_bytes(encoded(picture(i, (12, 12)), "png"))
    if any("{odd}" in a or "{flat}" in a for a in arguments):
        write_shards(str(tmp_path / "pictures"), tmp_path / "odd", ShardOptions())
    given = [a.format(digits=digits, flat=tmp_path / "odd", odd=tmp_path / "odd") for a in arguments]
    tiny = [] if any("config" in a for a in given) else TINY
    result = command(TRAIN, *tiny, "--out=run", *given, cwd=tmp_path)
    assert says in refused(result)


@pytest.mark.parametrize(
    ("module", "arguments", "says"),
    [
        (TRAIN, ["--data=nowhere"], "nowhere"),
        ("ragdist.generate", ["nowhere"], "nowhere"),
        ("ragdist.evaluate", ["nowhere"], "nowhere"),
        ("ragdist.shards", ["check", "nowhere"], "nowhere"),
    ],
)
def test_each_command_starts_in_a_process_of_its_own(module, arguments, says, tmp_path):
    assert says in refused(command(module, *arguments, cwd=tmp_path, PYTHONHASHSEED="1"))


@pytest.mark.parametrize("module", [TRAIN, "ragdist.shards", "ragdist.evaluate", "ragdist.generate", "tune.search"])
def test_help_imports_nothing_that_takes_seconds(module, tmp_path):
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", module, "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "ragdist.config.cli" in imported
    assert not {"torch", "ray", "webdataset", "matplotlib", "scipy", "sklearn"} & imported


def test_help_is_short(tmp_path):
    result = shown(TRAIN, cwd=tmp_path)
    assert "--objective.lam" in result
    assert "--data WHERE" in result
    assert "cifar10" in result
    assert "--help all" in result
    assert len(result.splitlines()) <= 100, "two screens"


def shown(module: str, *about: str, cwd) -> str:
    result = command(module, "--help", *about, cwd=cwd, COLUMNS="80")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def options_in(text: str) -> set[str]:
    return set(re.findall(r"^  (?:-h, )?--([\w.]+)", text, re.MULTILINE))


def test_help_shows_the_options_that_are_marked_a_group_or_all(tmp_path):
    """Groups and all together show every option; the mark beside a field decides what is shown without asking."""
    known, groups = set(flat(Config())), {name.partition(".")[0] for name in flat(Config()) if "." in name}
    beside = {"help", "config", "print_config", "overwrite", "data", "augment"}
    everything = options_in(shown(TRAIN, "all", cwd=tmp_path))
    assert everything == known | beside | groups
    common = {name for name, marked in helptext.marks(Config).items() if marked}
    assert options_in(shown(TRAIN, cwd=tmp_path)) == common | beside
    assert 15 < len(common) < 30
    assert options_in(shown(TRAIN, "objective", cwd=tmp_path)) == {n for n in known if n.startswith("objective.")} | {
        "objective"
    }
    assert options_in(shown(TRAIN, "optim.beta1", cwd=tmp_path)) == {"optim.beta1"}


@pytest.mark.parametrize("module", ["ragdist.evaluate", "ragdist.shards", "tune.search"])
def test_help_of_other_commands_has_a_short_and_a_whole_form(module, tmp_path):
    short, whole = (shown(module, *about, cwd=tmp_path) for about in ((), ("all",)))
    assert options_in(short) < options_in(whole)
    assert "--help all" in short
    assert len(short.splitlines()) <= 45 < len(whole.splitlines())


def test_help_of_what_is_not_there_names_the_nearest(tmp_path):
    line = refused(command(TRAIN, "--help", "objetive", cwd=tmp_path))
    assert "--help objetive" in line
    assert "did you mean 'objective'?" in line


@pytest.mark.parametrize("module", ["ragdist.train", "ragdist.shards", "ragdist.generate"])
def test_parsing_does_not_import_torch(module):
    code = f"import sys, {module}; from ragdist.config import settings; settings.parse([], 'x'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@dataclass
class Sizes:
    """A base class of options."""

    size: int = 0
    """how large"""
    depth: int = 0
    """how deep"""


@dataclass
class MoreSizes(Sizes):
    """A class with one more, and one that it describes anew."""

    depth: int = 1
    """how many layers"""
    width: int = 0
    """how wide"""


def test_options_that_a_class_inherits_keep_their_description():
    assert helptext.docstrings(MoreSizes) == {"size": "how large", "depth": "how many layers", "width": "how wide"}


def test_every_option_is_described():
    """--help shows a line for each option; an undescribed one would show its type alone."""
    import inspect

    from ragdist.config import run

    source = inspect.getsource(run)
    for block in re.findall(r"@dataclass\nclass \w+:\n(.*?)(?=\n\n\n|\Z)", source, re.DOTALL):
        for name, after in re.findall(r"^    (\w+): [^\n]+\n([^\n]*)", block, re.MULTILINE):
            if name not in ("data", "network", "objective", "augment", "optim", "checkpoint", "monitor", "evaluate"):
                assert after.strip().startswith('"""'), name
