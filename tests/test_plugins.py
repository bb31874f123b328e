"""Plugins and installed packages as users give them to commands: in every process, continued, changed, gone."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open

from ragdist import train
from ragdist.config import identity, settings
from ragdist.config.evaluation import EvaluateOptions
from ragdist.distributed.world import World
from ragdist.evaluation.reference import Reference
from ragdist.evaluation.reference_data import DataSet
from ragdist.tools import plugins
from ragdist.tools.errors import UserError
from tests import plugin
from tests.conftest import TINY, begin, command, each_refused, picture, plugins_of_a_test, refused, refused_here
from tests.ranks import on_ranks

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


def protocol(folder: Path) -> dict:
    return json.loads((folder / "evaluation.json").read_text())["protocol"]


def curves(folder: Path) -> list[str]:
    """The protocol of each evaluation that a folder remembers."""
    return [json.loads(line)["protocol"] for line in (folder / "evaluations.jsonl").read_text().splitlines()]


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
    """Beside a package none of whose rows can be imported, of which one line each tells, on however many workers."""
    plugin.install_broken(again)
    judging = [*FEW, "--features=means", "--metrics=brightness,frechet", "--cache=cache"]
    for workers, features in (("1", "computed"), ("2", "from the cache")):
        result = command(EVALUATE, "run", *judging, f"--workers={workers}", f"--out=of{workers}", cwd=again)
        assert result.returncode == 0, result.stderr
        assert f"features {features}" in result.stdout
        assert "note:" not in result.stdout
        assert_left_out(result.stderr, "wreck", "hull")
    one, two = (json.loads((again / f"of{n}/evaluation.json").read_text()) for n in "12")
    assert one["figures"] == two["figures"]
    assert {"brightness", "frechet_distance"} == {*one["figures"]}
    assert curves(again / "of1") == curves(again / "of2") == curves(again / "run"), "the training's own is one of them"
    ran(GENERATE, "run", "--n=2", "--out=drawn.png", cwd=again)
    # The plugin of the command stands for the run's of that name.
    plugin.write(again, "raise ValueError")
    (again / "mine").mkdir()
    mine = plugin.write(again / "mine")
    ran(GENERATE, "run/generator.safetensors", "--n=2", "--plugin", str(mine), cwd=again)
    # Figures of another text are other figures: its features are computed anew.
    other = plugin.TEXT + "# other\n"
    plugin.write(again / "mine", other)
    said = ran(EVALUATE, "run", *judging, "--out=of3", "--plugin", str(mine), cwd=again)
    assert "features computed" in said
    for folder, text in (("of2", plugin.TEXT), ("of3", other)):
        code = protocol(again / folder)["code"]
        assert code == {"features": sha256(text)}
        figures = json.loads((again / folder / "evaluation.json").read_text())["figures"]
        assert {name: figure.get("code") for name, figure in figures.items()} == {
            "brightness": sha256(text),
            "frechet_distance": None,
        }
    assert curves(again / "of3") != curves(again / "of2")


def test_the_projects_figures_are_one_curve_whatever_else_is_measured(again):
    judging = [EVALUATE, "run", *FEW, "--features=pixels", "--cache=cache"]
    for number, metrics in enumerate(("frechet", "brightness,frechet")):
        ran(*judging, f"--metrics={metrics}", f"--out=by{number}", cwd=again)
    assert curves(again / "by0") == curves(again / "by1")
    assert "code" not in protocol(again / "by1")


def test_a_run_whose_plugin_is_gone_is_one_clear_line(again):
    (again / "my.py").unlink()
    for said in each_refused(
        again, [GENERATE, "run", "--n=1"], [EVALUATE, "run", *FEW], [EVALUATE, "run", *FEW, "--workers=2"]
    ):
        assert said == (
            "error: run/generator.safetensors was made by the network family 'mine', which is not here: give the "
            "plugin that it is from, my.py, with --plugin FILE"
        )


def test_a_configuration_may_name_plugins_and_the_command_line_wins(digits, tmp_path, monkeypatch):
    plugin.write(tmp_path)
    plugin.write(tmp_path, plugin.TEXT + "\n", "other.py")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"plugin": "my.py", "network": {"family": "mine"}}))
    argv = [TRAIN, "--config=mine.yaml", *SMALL, f"--data={digits}", "--samples=32"]
    ran(*argv, "--out=run", cwd=tmp_path)
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["plugin"] == str(tmp_path / "my.py")
    assert [*meta(tmp_path / "run")["plugins"]] == ["my.py"]
    monkeypatch.chdir(tmp_path)
    with plugins_of_a_test():
        config, _ = settings.parse([*argv[1:], "--plugin=other.py"], "train")
        assert identity.code_of(config) == {"plugins": {"other.py": sha256(plugin.TEXT + "\n")}}


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
def test_mistakes(text, argv, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "my.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "a").mkdir()
    plugin.write(tmp_path / "a", "1")
    with plugins_of_a_test():
        assert says in refused_here(train.main, "--plugin=my.py", *argv)
    assert not (tmp_path / "runs").exists()


def test_unknown_features_and_measures_are_named(trained):
    judging = [EVALUATE, "run", *FEW, "--out=x"]
    meant, said = each_refused(
        trained, [*judging, "--features=mean"], [*judging, "--features=means", "--metrics=bright"]
    )
    assert "did you mean 'means'?" in meant
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
    evaluating = ["--evaluate_every=64", "--evaluate.features=toy_pixels", "--evaluate.metrics=toy_kid,frechet"]
    evaluating += ["--evaluate.samples=64", "--evaluate.reals=64", "--evaluate.cache=cache"]
    ran(TRAIN, *tiny, *evaluating, "--data=shards", "--out=run", "--data.loader_workers=1", cwd=cwd)
    return cwd


def test_choices_of_packages_are_used_by_name_and_written_down(installed):
    assert json.loads((installed / "shards/index.json").read_text())["codec"] == "toy_image"
    expected = dict.fromkeys(("network.family", "objective.adversarial", "modality", "head"), "toys 1.2")
    assert meta(installed / "run")["packages"] == expected
    assert about(installed / "run/generator.safetensors")["packages"] == expected


def test_another_version_of_a_package_is_another_run_and_its_figures_are_others(installed, tmp_path):
    cwd = shutil.copytree(installed, tmp_path / "updated")
    plugin.install(cwd, "1.3")
    ran(GENERATE, "run", "--n=2", cwd=cwd)
    said = refused(command(TRAIN, "--out=run", "--samples=96", cwd=cwd))
    assert "network.family is from toys 1.3, and was from toys 1.2" in said
    assert len(before := curves(cwd / "run")) == 1
    judging = ["--data=shards", "--features=toy_pixels", "--metrics=toy_kid,frechet", "--cache=cache"]
    assert "features computed" in ran(EVALUATE, "run", *FEW, *judging, cwd=cwd), "those of toys 1.2 are in the cache"
    assert protocol(cwd / "run")["code"] == {"features": "toys 1.3"}
    assert json.loads((cwd / "run/evaluation.json").read_text())["figures"]["kid"]["code"] == "toys 1.3"
    assert len({*before, *curves(cwd / "run")}) == 2
    shutil.rmtree(cwd / "toys-1.3.dist-info")
    said = refused(command(GENERATE, "run", "--n=2", cwd=cwd))
    assert said.endswith("made by the network family 'toy', which is not here: install toys 1.2")


def test_a_package_that_cannot_be_imported_is_named(installed):
    said = refused(command(TRAIN, "--network.family=broken", "--data=shards", "--out=broken", cwd=installed))
    assert "the network family 'broken' of the package toys 1.2 cannot be imported (AttributeError:" in said


BROKEN = {
    name: f"the {what} '{name}' of the package wrecks 0.1 cannot be imported ({why}"
    for what, name, why in (
        ("modality", "wreck", "RuntimeError: its library is of another version)"),
        ("modality", "hull", "ModuleNotFoundError: No module named 'hull."),
        ("measure", "depth", "RuntimeError: its library is of another version)"),
        ("kind of features", "sunk", "RuntimeError: its library is of another version)"),
    )
}


def assert_left_out(stderr: str, *names: str) -> None:
    """Check that there is a warning for each of these rows, and nothing else."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    assert len(lines) == len(names), stderr
    for line, said in zip(sorted(lines), sorted(BROKEN[name] for name in names), strict=True):
        assert line.startswith(f"warning: {said}")
        assert line.endswith(", and is left out")


def beside(trained: Path, install: Callable[[Path], None]) -> Path:
    """A folder of the run with the plugin, and of pictures, beside a package."""
    cwd = shutil.copytree(trained, trained.parent / install.__name__)
    install(cwd)
    (cwd / "pictures").mkdir()
    picture(0).save(cwd / "pictures/0.png")
    return cwd


@pytest.fixture(scope="module")
def wrecked(trained) -> Path:
    """Beside a package none of whose rows can be imported."""
    return beside(trained, plugin.install_broken)


EVALUATING = ["--evaluate_every=32", "--evaluate.samples=64", "--evaluate.reals=64", "--evaluate.features=pixels"]


@pytest.mark.parametrize(("argv", "names"), [
    (["ragdist.shards", "pictures", "made"], ["wreck", "hull"]),
    (["ragdist.shards", "index", "{digits}", "--out=indexed"], ["wreck", "hull"]),
    ([EVALUATE, "run", *FEW, "--features=pixels", "--out=all"], ["depth"]),
    ([TRAIN, *TINY, *EVALUATING, "--data={digits}", "--samples=32", "--out=new", "--evaluate.best=brightness",
      "--plugin=my.py", "--evaluate.metrics=brightness"], ["depth"]),
])  # fmt: skip
def test_what_cannot_be_imported_and_nobody_asked_for_is_left_out(wrecked, digits, argv, names):
    result = command(*(word.format(digits=digits) for word in argv), cwd=wrecked)
    assert result.returncode == 0, result.stderr
    assert_left_out(result.stderr, *names)


def refusals(world: World, cases: list[list[str]], *places: Path) -> list[str]:
    """What a reference is refused with where the ranks have plugins of these texts, [rank 0's, rank 1's], each time."""
    data, cache = map(str, places)
    options, said = EvaluateOptions(features="means", metrics="brightness", reals=64, cache=cache), []
    for texts in cases:
        with plugins_of_a_test():
            plugins.take([plugins.Plugin("my.py", texts[world.rank])])
            with pytest.raises(UserError) as error:
                Reference(DataSet(data, Path(cache), 1), options, 64, world=world, say=print)
            said.append(str(error.value))
    return said


def test_what_one_worker_has_not_is_refused_on_all(digits, tmp_path):
    features, measure = plugin.TEXT.splitlines()[-2:]
    cases = {
        features: "--features means, on worker 1: there is no kind of features 'means'",
        measure: "--metrics brightness, on worker 1: there is no measure 'brightness'",
    }
    texts = [[plugin.TEXT, plugin.TEXT.replace(line, "")] for line in cases]
    texts.append([plugin.TEXT, plugin.TEXT.replace(features, "FEATURES.add('means', 'no_such_module')")])
    said = [*cases.values(), "the kind of features 'means' of a plugin cannot be imported (ModuleNotFoundError"]
    for lines in on_ranks(2, refusals, texts, digits, tmp_path):
        for line, says in zip(lines, said, strict=True):
            assert line.startswith(says)


def test_what_cannot_be_imported_and_was_asked_for_is_one_clear_line(wrecked, digits):
    asked = {
        "wreck": ["ragdist.shards", "pictures", "no", "--modality=wreck"],
        "hull": ["ragdist.shards", "index", digits, "--out=no", "--modality=hull"],
        "depth": [EVALUATE, "run", *FEW, "--metrics=depth", "--out=no"],
        "sunk": [EVALUATE, "run", *FEW, "--features=sunk", "--out=no"],
    }
    for name, line in zip(asked, each_refused(wrecked, *asked.values()), strict=True):
        assert line.startswith(f"error: {BROKEN[name]}")


@pytest.fixture(scope="module")
def misfit(trained) -> Path:
    """Beside a package whose rows can be imported and are none."""
    return beside(trained, plugin.install_misfits)


@pytest.mark.parametrize(("argv", "name"), [
    (["ragdist.shards", "pictures", "made"], "modality 'hollow'"),
    (["ragdist.shards", "index", "{digits}", "--out=indexed"], "modality 'hollow'"),
    ([EVALUATE, "run", *FEW, "--features=means", "--metrics=frechet", "--out=few"], "modality 'hollow'"),
    ([EVALUATE, "run", *FEW, "--features=pixels", "--out=all"], "measure 'num'"),
    ([TRAIN, *TINY, *EVALUATING, "--data={digits}", "--samples=32", "--out=new", "--evaluate.best=brightness",
      "--plugin=my.py", "--evaluate.metrics=brightness"], "measure 'num'"),
])  # fmt: skip
def test_what_is_no_row_and_nobody_asked_for_is_left_out(misfit, digits, argv, name):
    result = command(*(word.format(digits=digits) for word in argv), cwd=misfit)
    assert result.returncode == 0, result.stderr
    lines = result.stderr.strip().splitlines()
    assert any(line.startswith(f"warning: the {name} of the package misfits 0.2 cannot be used (Att") for line in lines)
    assert all(line.startswith("warning: ") and line.endswith(", and is left out") for line in lines)


def test_what_is_no_row_and_was_asked_for_is_one_clear_line(misfit, digits):
    asked = {
        "modality 'hollow'": ["ragdist.shards", "pictures", "no", "--modality=hollow"],
        "measure 'num'": [EVALUATE, "run", *FEW, "--metrics=num", "--out=no"],
        "kind of features 'few'": [EVALUATE, "run", *FEW, "--features=few", "--metrics=frechet", "--out=no"],
    }
    indexing = ["ragdist.shards", "index", digits, "--out=no", "--modality=hollow"]
    names = [*asked, "modality 'hollow'"]
    for name, line in zip(names, each_refused(misfit, *asked.values(), indexing), strict=True):
        assert line.startswith(f"error: the {name} of the package misfits 0.2 cannot be used (AttributeError: ")


# In this process.


def test_a_copy_is_loaded_once_and_another_text_of_the_name_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    paths = [plugin.write(tmp_path, f"# {tmp_path}", name) for name in ("one.py", "copy.py", "a/one.py")]
    with plugins_of_a_test():
        before = plugins.loaded()
        plugins.load(map(str, paths))
        assert [one.path for one in plugins.loaded()[len(before) :]] == [str(paths[0])]
        plugin.write(tmp_path, "# other", "a/one.py")
        with pytest.raises(UserError, match=r"another plugin of that file name, .*/one.py, is loaded already: rename"):
            plugins.load([str(paths[2])])
