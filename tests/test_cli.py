"""The command line: presets, files, short options, and one clear line for every mistake."""

import subprocess
import sys

import pytest
import yaml

from ragdist import cli, settings
from ragdist.config import Config, flat
from ragdist.errors import UserError
from tests.conftest import TINY, command, refused

TRAIN = "ragdist.train"


def parsed(*argv: str) -> Config:
    return settings.parse(list(argv), "train")[0]


def test_defaults_preset_file_and_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parsed().out == "runs/digits"
    assert parsed().network.labels
    config = parsed("--config", "cifar10", "--data", "here", "--objective.lam", "3", "--images=1_000")
    assert (config.out, config.data.path, config.objective.lam, config.images) == ("runs/cifar10", "here", 3.0, 1000)
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
        (["--objective.pairing=xyz"], "is not one of cover, nearest, random, assignment, all"),
        (["--network.family=resnett"], "did you mean 'resnet'?"),
        (["--config=cifar"], "did you mean 'cifar10'?"),
        (["--config=nowhere.yaml"], "there is no such file"),
        (["--config"], "--config needs a name"),
        (["--images=many"], "--images: 'many' is not a whole number"),
        (["--images=0"], "--images 0: it must be at least 1"),
        (["--optim.g_lr=fast"], "--optim.g_lr: 'fast' is not a number"),
        (["--optim.g_lr=-1"], "--optim.g_lr -1.0: it must be above 0"),
        (["--objective.relative=perhaps"], "--objective.relative: 'perhaps' is not true or false"),
        (["--objective.p=3"], "--objective.p: '3' is not one of 1, 2"),
        (["--objective.lam_schedule=linear"], "--objective.lam_images 0: it must be above 0"),
        (["--workers=4:2"], "--workers 4:2: it must be auto, 0 (this process), a number as 4, or a range as 2:8"),
        (["--gpus_per_worker=2"], "--gpus_per_worker 2: it must be 1, 0 or -1"),
        (["--precision=fp16"], "is not one of fp32, tf32, bf16"),
        (["stray"], "stray"),
        (["--images"], "--images"),
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
        ("images: many", "images"),
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
    from ragdist.data.options import ShardOptions
    from ragdist.data.writer import write_shards
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


def test_help_is_complete_and_waits_for_no_pytorch(tmp_path):
    """Importing it would take most of the time; how long that is says benchmarks/start.py."""
    code = (
        "import sys, ragdist.train\n"
        "try: ragdist.train.main(['--help'])\n"
        "finally: assert 'torch' not in sys.modules, 'it was imported'"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--objective.lam" in result.stdout
    assert "--data WHERE" in result.stdout
    assert "cifar10" in result.stdout


@pytest.mark.parametrize("module", ["ragdist.train", "ragdist.shards", "ragdist.generate"])
def test_parsing_does_not_import_torch(module):
    code = f"import sys, {module}; from ragdist import settings; settings.parse([], 'x'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_option_is_described():
    """--help shows a line for each option; an undescribed one would show its type alone."""
    import inspect
    import re

    from ragdist import config

    source = inspect.getsource(config)
    for block in re.findall(r"@dataclass\nclass \w+:\n(.*?)(?=\n\n\n|\Z)", source, re.DOTALL):
        for name, after in re.findall(r"^    (\w+): [^\n]+\n([^\n]*)", block, re.MULTILINE):
            if name not in ("data", "network", "objective", "optim", "checkpoint", "monitor", "evaluate"):
                assert after.strip().startswith('"""'), name
