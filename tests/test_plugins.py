"""Plugins and installed packages as users give them to commands: in every process, continued, changed, gone."""

import json
import shutil
import time
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open

from ragdist.config import identity
from ragdist.tools import plugins
from ragdist.tools.errors import UserError
from ragdist.tools.table import Table
from tests import plugin
from tests.conftest import TINY, begin, command, picture, refused

TRAIN, EVALUATE, GENERATE = "ragdist.train", "ragdist.evaluate", "ragdist.generate"
SMALL = [word for word in TINY if not word.startswith("--network.family")]
FEW = ["--samples=64", "--reals=64"]


def options(digits: Path, *more: str) -> list[str]:
    return [*SMALL, *plugin.CHOICES, f"--data={digits}", "--samples=640", "--checkpoint.every=160", *more]


def ran(*words: str, cwd: Path) -> str:
    result = command(*words, cwd=cwd)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def meta(run: Path) -> dict:
    return json.loads((sorted((run / "checkpoints").iterdir())[-1] / "meta.json").read_text())


def about(generator: Path) -> dict:
    with safe_open(generator, "pt") as file:
        return json.loads(file.metadata()["ragdist"])


def sha256(text: str) -> str:
    return plugins.Plugin("", text).sha256


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits) -> Path:
    """The folder of a run with the plugin and with evaluations, its data read by a loader process."""
    cwd = tmp_path_factory.mktemp("plugins")
    plugin.write(cwd)
    evaluating = ["--evaluate_every=640", "--evaluate.features=means", "--evaluate.best=brightness"]
    evaluating += ["--evaluate.metrics=brightness,frechet", "--evaluate.samples=64", "--evaluate.reals=64"]
    ran(TRAIN, *options(digits, "--out=run", "--plugin=my.py", *evaluating), "--data.loader_workers=1", cwd=cwd)
    return cwd


@pytest.fixture
def again(trained, tmp_path) -> Path:
    """A copy of that folder, with the run's plugin beside the run."""
    shutil.copytree(trained, tmp_path / "again")
    config = tmp_path / "again/run/config.yaml"
    config.write_text(config.read_text().replace(str(trained / "my.py"), str(tmp_path / "again/my.py")))
    return tmp_path / "again"


def test_a_killed_run_goes_on_and_has_the_weights_of_an_undisturbed_one(trained, digits, tmp_path):
    plugin.write(tmp_path)
    argv = options(digits, "--out=run", "--plugin", "my.py", "--data.loader_workers=0")
    killed = begin(TRAIN, *argv, cwd=tmp_path)
    while not list((tmp_path / "run").glob("checkpoints/samples-*")):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    said = ran(TRAIN, *argv, cwd=tmp_path)
    assert "continuing from" in said
    assert (summary := json.loads((tmp_path / "run/summary.json").read_text()))["samples"] == 640
    assert summary["weights_sha256"] == json.loads((trained / "run/summary.json").read_text())["weights_sha256"]


def test_what_a_plugin_says_is_part_of_what_a_run_and_a_generator_are(trained):
    expected = {"my.py": sha256(plugin.TEXT)}
    assert meta(trained / "run")["plugins"] == expected
    assert about(trained / "run/generator.safetensors")["plugins"] == expected
    assert about(trained / "run/best.safetensors")["plugins"] == expected
    assert about(trained / "run/best.safetensors")["evaluation"]["figure"] == "brightness"


def test_a_run_without_plugins_says_nothing_of_them(digits, tmp_path):
    ran(TRAIN, *TINY, f"--data={digits}", "--out=run", "--samples=32", cwd=tmp_path)
    for found in (meta(tmp_path / "run"), about(tmp_path / "run/generator.safetensors")):
        assert not {*identity.KEYS} & {*found}


def test_a_run_is_continued_by_its_folder_alone_and_wherever_its_plugin_lies_now(again):
    assert "672 images" in ran(TRAIN, "--out=run", "--data.loader_workers=0", "--samples=672", cwd=again)
    (again / "elsewhere").mkdir()
    (again / "my.py").rename(again / "elsewhere/renamed.py")
    said = refused(command(TRAIN, "--out=run", "--samples=704", cwd=again))
    assert said == f"error: --plugin {again}/my.py cannot be read (No such file or directory)"
    ran(TRAIN, "--out=run", "--plugin=elsewhere/renamed.py", "--samples=704", cwd=again)
    assert meta(again / "run")["plugins"] == {"renamed.py": sha256(plugin.TEXT)}


def test_a_plugin_that_was_changed_is_another_run(again):
    plugin.write(again, plugin.TEXT.replace("2 * part", "3 * part"))
    said = refused(command(TRAIN, "--out=run", "--samples=672", cwd=again))
    assert "samples-000000000640 was trained with other code (the plugin my.py was changed (" in said
    assert said.endswith("give that again, another --out, or --overwrite to start anew")
    noted = ran(GENERATE, "run", "--n=1", cwd=again)
    assert noted.startswith("note: the plugin my.py was changed since the generator was trained with it (")


def test_more_and_fewer_plugins_are_another_run_too(again):
    plugin.write(again, "", "more.py")
    said = refused(command(TRAIN, "--out=run", "--plugin=my.py", "--plugin=more.py", "--samples=672", cwd=again))
    assert "it had no plugin more.py" in said
    found = identity.differences({}, {"plugins": {"my.py": "0123456789"}})
    assert found == ["it had the plugin my.py (01234567)"]


def test_it_is_judged_and_drawn_from_without_naming_the_plugin(again):
    judging = [*FEW, "--features=means", "--metrics=brightness,kid", "--cache=cache"]
    for workers in ("1", "2"):
        said = ran(EVALUATE, "run", *judging, f"--workers={workers}", f"--out=of{workers}", cwd=again)
        assert "note:" not in said
    one, two = (json.loads((again / f"of{n}/evaluation.json").read_text()) for n in "12")
    assert one["figures"] == two["figures"]
    assert {"brightness", "kid"} == {*one["figures"]}
    ran(GENERATE, "run", "--n=2", "--out=drawn.png", cwd=again)
    # The plugin of the command stands for the run's of that name.
    plugin.write(again, "raise ValueError")
    (again / "mine").mkdir()
    mine = plugin.write(again / "mine")
    ran(GENERATE, "run/generator.safetensors", "--n=2", "--plugin", str(mine), cwd=again)


def test_a_run_whose_plugin_is_gone_is_one_clear_line(again):
    (again / "my.py").unlink()
    for argv in ([GENERATE, "run", "--n=1"], [EVALUATE, "run", *FEW], [EVALUATE, "run", *FEW, "--workers=2"]):
        said = refused(command(*argv, cwd=again))
        assert said == (
            "error: run/generator.safetensors was made by the network family 'mine', which is not here: give the "
            "plugin that it is from, my.py, with --plugin FILE"
        )


def test_a_configuration_may_name_plugins_and_the_command_line_wins(digits, tmp_path):
    plugin.write(tmp_path)
    plugin.write(tmp_path, plugin.TEXT + "\n", "other.py")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"plugin": "my.py", "network": {"family": "mine"}}))
    argv = [TRAIN, "--config=mine.yaml", *SMALL, f"--data={digits}", "--samples=32"]
    ran(*argv, "--out=run", cwd=tmp_path)
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["plugin"] == str(tmp_path / "my.py")
    assert [*meta(tmp_path / "run")["plugins"]] == ["my.py"]
    ran(*argv, "--out=won", "--plugin=other.py", cwd=tmp_path)
    assert [*meta(tmp_path / "won")["plugins"]] == ["other.py"]


@pytest.mark.parametrize(("text", "argv", "says"), [
    (None, [], "--plugin my.py cannot be read (No such file or directory)"),
    (b"\xff\xfe", [], "--plugin my.py cannot be read (it is no text in UTF-8)"),
    ("import os\nimport os os", [], "--plugin my.py, line 2: SyntaxError: invalid syntax"),
    ("def f():\n    1 / 0\n\nf()", [], "--plugin my.py, line 2: ZeroDivisionError: division by zero"),
    ("import os, sys\n\nsys.exit(0)", [], "--plugin my.py, line 3: SystemExit: 0"),
    ("import nothing_of_that_name", [], "--plugin my.py, line 1: ModuleNotFoundError: No module named 'nothing_of"),
    ("from ragdist.networks import FAMILIES\nFAMILIES.add('mlp', 0)", [],
     "--plugin my.py, line 2: there is a network family 'mlp' already: choose another name for the plugin's"),
    ("", ["--plugin", "a/my.py"], "--plugin a/my.py: another plugin of that file name, my.py, is loaded already"),
    ("", ["--network.family=resnt"], "--network.family resnt: there is no network family 'resnt' here or in a "
     "--plugin; did you mean 'resnet'?"),
    ("", ["--objective.pairing=mine"], "--objective.pairing mine: there is no pairing 'mine' here or in a --plugin; "
     "there are: cover, nearest, random, assignment, all"),
    ("from ragdist.objective import PAIRINGS\nPAIRINGS.add('mine', 0)", ["--objective.pairing=min"],
     "did you mean 'mine'?"),
    ("", ["--plugin"], "--plugin needs a file"),
])  # fmt: skip
def test_mistakes(text, argv, says, tmp_path):
    if text is not None:
        (tmp_path / "my.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "a").mkdir()
    plugin.write(tmp_path / "a", "1")
    assert says in refused(command(TRAIN, "--plugin=my.py", *argv, cwd=tmp_path))
    assert not (tmp_path / "runs").exists()


def test_unknown_features_and_measures_are_named(trained):
    judging = [EVALUATE, "run", *FEW, "--out=x"]
    assert "did you mean 'means'?" in refused(command(*judging, "--features=mean", cwd=trained))
    said = refused(command(*judging, "--features=means", "--metrics=bright", cwd=trained))
    assert "--metrics bright: there is no such measure; there are: frechet," in said
    assert said.endswith(", brightness")


# Installed packages.


@pytest.fixture(scope="module")
def installed(tmp_path_factory, digits) -> Path:
    """A folder with a package, and a run with its networks, loss and modality, its data read by a loader process."""
    cwd = tmp_path_factory.mktemp("packages")
    plugin.install(cwd)
    ran("ragdist.shards", "index", str(digits), "--out=shards", "--modality=toy_image", cwd=cwd)
    tiny = [*SMALL, "--network.family=toy", "--objective.adversarial=toy_loss", "--samples=64"]
    ran(TRAIN, *tiny, "--data=shards", "--out=run", "--data.loader_workers=1", cwd=cwd)
    return cwd


def test_choices_of_packages_are_used_by_name_and_written_down(installed):
    assert json.loads((installed / "shards/index.json").read_text())["codec"] == "toy_image"
    expected = dict.fromkeys(("network.family", "objective.adversarial", "modality"), "toys 1.2")
    assert meta(installed / "run")["packages"] == expected
    assert about(installed / "run/generator.safetensors")["packages"] == expected


def test_another_version_of_a_package_is_another_run(installed, tmp_path):
    cwd = shutil.copytree(installed, tmp_path / "updated")
    plugin.install(cwd, "1.3")
    ran(GENERATE, "run", "--n=2", cwd=cwd)
    said = refused(command(TRAIN, "--out=run", "--samples=96", cwd=cwd))
    assert "network.family is from toys 1.3, and was from toys 1.2" in said
    shutil.rmtree(cwd / "toys-1.3.dist-info")
    said = refused(command(GENERATE, "run", "--n=2", cwd=cwd))
    assert said.endswith("made by the network family 'toy', which is not here: install toys 1.2")


def test_a_package_that_cannot_be_imported_is_named(installed):
    said = refused(command(TRAIN, "--network.family=broken", "--data=shards", "--out=broken", cwd=installed))
    assert "the network family 'broken' of the package toys 1.2 cannot be imported (AttributeError:" in said


@pytest.fixture(scope="module")
def wrecked(trained, digits) -> Path:
    """The folder of the run with the plugin, beside a package none of whose rows can be imported."""
    cwd = trained.parent / "wrecked"
    shutil.copytree(trained, cwd)
    plugin.install_broken(cwd)
    (cwd / "pictures").mkdir()
    for number in range(2):
        picture(number).save(cwd / f"pictures/{number}.png")
    return cwd


BROKEN = {
    name: f"the {what} '{name}' of the package wrecks 0.1 cannot be imported ({why}"
    for what, name, why in (
        ("modality", "wreck", "RuntimeError: its library is of another version)"),
        ("modality", "hull", "ModuleNotFoundError: No module named 'hull."),
        ("measure", "depth", "RuntimeError: its library is of another version)"),
        ("kind of features", "sunk", "RuntimeError: its library is of another version)"),
    )
}


@pytest.mark.parametrize(("argv", "names"), [
    (["ragdist.shards", "pictures", "made"], ["wreck", "hull"]),
    (["ragdist.shards", "index", "{digits}", "--out=indexed"], ["wreck", "hull"]),
    ([EVALUATE, "run", *FEW, "--workers=2", "--out=all"], ["wreck", "hull", "depth"]),
    ([EVALUATE, "run", *FEW, "--metrics=frechet", "--out=one"], []),
    ([TRAIN, *TINY, "--data={digits}", "--samples=32", "--out=new", "--evaluate_every=32", "--evaluate.samples=64",
      "--evaluate.reals=64", "--evaluate.features=means", "--evaluate.best=brightness", "--plugin=my.py",
      "--evaluate.metrics=brightness"], ["wreck", "hull", "depth"]),
])  # fmt: skip
def test_what_cannot_be_imported_and_nobody_asked_for_is_left_out(wrecked, digits, argv, names):
    result = command(*(word.format(digits=digits) for word in argv), cwd=wrecked)
    assert result.returncode == 0, result.stderr
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == len(names), result.stderr
    for line, name in zip(sorted(warnings), sorted(names, key=lambda name: BROKEN[name]), strict=True):
        assert line.startswith(f"warning: {BROKEN[name]}")
        assert line.endswith(", and is left out")


@pytest.mark.parametrize(("argv", "name"), [
    (["ragdist.shards", "pictures", "no", "--modality=wreck"], "wreck"),
    (["ragdist.shards", "index", "{digits}", "--out=no", "--modality=hull"], "hull"),
    ([EVALUATE, "run", *FEW, "--metrics=depth", "--out=no"], "depth"),
    ([EVALUATE, "run", *FEW, "--features=sunk", "--out=no"], "sunk"),
])  # fmt: skip
def test_what_cannot_be_imported_and_was_asked_for_is_one_clear_line(wrecked, digits, argv, name):
    result = command(*(word.format(digits=digits) for word in argv), cwd=wrecked)
    assert result.returncode == 2
    *others, last = result.stderr.splitlines()
    assert last.startswith(f"error: {BROKEN[name]}")
    assert all(line.startswith("warning: ") for line in others), result.stderr


# In this process.


def test_a_copy_is_loaded_once_and_another_text_of_the_name_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    paths = [plugin.write(tmp_path, f"# {tmp_path}", name) for name in ("one.py", "copy.py", "a/one.py")]
    before = plugins.loaded()
    plugins.load(map(str, paths))
    assert [one.path for one in plugins.loaded()[len(before) :]] == [str(paths[0])]
    plugin.write(tmp_path, "# other", "a/one.py")
    with pytest.raises(UserError, match=r"another plugin of that file name, .*/one.py, is loaded already: rename one"):
        plugins.load([str(paths[2])])


def test_a_name_is_taken_once():
    table = Table("ragdist.none", "thing", {"own": "json"})
    table.add("mine", 1)
    for name in ("own", "mine"):
        with pytest.raises(UserError, match=f"there is a thing '{name}' already"):
            table.add(name, 2)
    assert (table["own"], table["mine"], [*table], table.added) == (json, 1, ["own", "mine"], ("mine",))
    table.remove(["mine"])
    assert "mine" not in table
