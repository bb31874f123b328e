"""``python -m ragdist.evaluate``: a run, a file, a folder; the report; what is kept; mistakes."""

import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ragdist import shards
from ragdist.config.evaluation import METRICS, EvaluateOptions
from ragdist.evaluation.evaluate import gather, measure
from ragdist.evaluation.reference_data import Batch, DataSet
from ragdist.evaluation.report import history
from ragdist.evaluation.samples import FolderSamples
from ragdist.modalities import classifier as classifiers
from ragdist.modalities.base import Form
from ragdist.modalities.image.training import from_network
from tests.conftest import TINY, command, encoded, picture, refused

EVALUATE = "ragdist.evaluate"
FEW = ["--samples=400", "--features=pixels", "--metrics=frechet,kid,precision_recall,density_coverage,memorization"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, digits):
    """A folder with a tiny run on the digits, whose classifier is not trained for long."""
    cwd = tmp_path_factory.mktemp("evaluate")
    data = shutil.copytree(digits, cwd / "digits")
    options = [f"--data={data}", "--out=run", "--samples=960", "--checkpoint.every=320"]
    result = command("ragdist.train", *TINY, *options, cwd=cwd)
    assert result.returncode == 0, result.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifiers, "_SEEN", (8_000, 8_000))
        classifiers.classifier(DataSet(str(data), cwd / "fetched"), cwd / "cache")
    return cwd


def run(place, *arguments, cwd=None):
    return command(EVALUATE, *arguments, f"--cache={place / 'cache'}", "--device=cpu", cwd=cwd or place)


def figures(folder) -> dict[str, float]:
    content = json.loads((folder / "evaluation.json").read_text())
    return {name: figure["value"] for name, figure in content["figures"].items()}


def test_a_run_is_judged_and_the_second_time_the_reals_are_there(place):
    first = run(place, "run", "--samples=400")
    assert first.returncode == 0, first.stderr
    assert "features computed" in first.stdout
    content = json.loads((place / "run/evaluation.json").read_text())
    assert content["judged"]["seen"] == 960
    protocol = content["protocol"]
    assert (protocol["samples"], protocol["reals"], protocol["of_reals"], protocol["seed"]) == (400, 1797, 1797, 0)
    assert protocol["features"]["name"] == "classifier"
    assert len(protocol["features"]["sha256"]) == 64
    assert 0.8 < protocol["classifier"]["accuracy"] <= 1
    assert not protocol["reals_cached"]
    values = figures(place / "run")
    wanted = {
        "frechet_distance",
        "kid",
        "precision",
        "recall",
        "density",
        "coverage",
        "copies",
        "authenticity",
        "swd_8",
    }
    assert wanted | {"ms_ssim", "modes", "class_kl", "fake_to_train_median"} <= set(values)
    assert "memorization_ratio" not in values
    assert any("held-out" in note for note in content["notes"])
    for figure in content["figures"].values():
        assert figure["of"]

    second = run(place, "run", "--samples=400")
    assert "features from the cache" in second.stdout
    assert figures(place / "run") == values  # to the last bit: seeds decide everything
    rows = history.read_lines(place / "run" / history.FILE)
    assert len(rows) == 1  # the same evaluation of the same weights is not counted twice


def test_the_report_holds_everything_itself(place):
    if not (place / "run/evaluation.html").exists():
        assert run(place, "run", "--samples=400").returncode == 0
    page = (place / "run/evaluation.html").read_text()
    parts = (
        "Samples",
        "Samples by class",
        "Nearest training images",
        "Classes",
        "Between latents",
        "Precision and recall",
        "Over the training",
    )
    for part in parts:
        assert f"<h2>{part}</h2>" in page
    assert page.count("data:image/png;base64,") == 5
    assert page.count("<svg") >= 4
    assert "Frechet distance" in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)|url\(|<script|@import", page)
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(re.findall(r'id="([^"]*)"', page))
    assert sum(map(len, re.findall("<svg.*?</svg>", page))) < 100_000


def test_a_file_and_a_folder_of_its_images_give_the_runs_figures(place, tmp_path):
    """Samples are numbered and judged as 8-bit images, wherever they come from."""
    shutil.copy(place / "run/generator.safetensors", tmp_path / "g.safetensors")
    data = f"--data={place / 'digits'}"
    assert run(place, place / "run", *FEW, "--out=run", cwd=tmp_path).returncode == 0
    result = run(place, "g.safetensors", *FEW, data, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert figures(tmp_path / "g-evaluation") == figures(tmp_path / "run")
    assert command("ragdist.generate", "g.safetensors", "--n=400", "--out=images", cwd=tmp_path).returncode == 0
    result = run(place, "images", *FEW[:2], data, "--metrics=frechet,precision_recall,density_coverage", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "400 files" in result.stdout
    one, other = figures(tmp_path / "images-evaluation"), figures(tmp_path / "run")
    assert set(one) == {"frechet_distance", "precision", "recall", "density", "coverage"}
    for name, value in one.items():
        # The grid's single images are rounded as the judged ones are, up to kernels that sum in another order.
        assert value == pytest.approx(other[name], rel=0.02, abs=0.01), name
    page = (tmp_path / "images-evaluation/evaluation.html").read_text()
    assert "Between latents" not in page


def test_a_data_set_is_judged_by_another(place, tmp_path):
    found = run(place, "digits", "--data=digits", *FEW, f"--out={tmp_path / 'report'}")
    assert found.returncode == 0, found.stderr
    values, content = figures(tmp_path / "report"), json.loads((tmp_path / "report/evaluation.json").read_text())
    assert [content["judged"]["kind"], values["copies"], values["precision"], values["recall"]] == ["data", 1, 1, 1]
    np.save(tmp_path / "small.npy", np.zeros((4, 4, 4), np.uint8))
    shards.main([str(tmp_path / "small.npy"), str(tmp_path / "small"), "--processes=1"])
    said = "small holds samples of shape [1, 4, 4] (image), and those of digits have [1, 8, 8]"
    assert said in refused(run(place, str(tmp_path / "small"), "--data=digits", *FEW))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "no run, no file and no folder"),
        (["started"], "appears with the run's first checkpoint"),
        (["elsewhere.safetensors"], "give the data with --data WHERE"),
        (["nothing", "--data=digits"], "holds no run and no images"),
        (["large", "--data=digits"], "8x8 pixels, grey"),
        (["run", "--data=colour"], "give the data that it was trained on"),
        (["run", "--metrics=fid"], "--metrics fid: there is no such measure; there are: frechet, kid"),
        (["run", "--metrics=inception_score"], "needs --features inception"),
        (
            ["run", "--features=vgg"],
            "--features vgg: images have no such features; there are: pixels, laplacian, classifier, inception",
        ),
        (["run", "--samples=3"], "3 samples are too few for the measure kid, which needs 4"),
        (["run", "--samples=0"], "--samples 0: it must be at least 1"),
        (["run", "--reals=-1"], "--reals -1: it must be 0 or more"),
        (["run", "--neighbours=3"], "too few for the measure precision_recall"),
        (["run", "--held_out=digits"], "is the training data itself"),
        (["pictures", "--data=colour", "--features=classifier"], "has no labels"),
        (["pictures", "--data=colour", "--metrics=classes"], "has no labels"),
        (
            ["run", "--features=inception", "--inception_weights=x.pth"],
            "--inception_weights x.pth: there is no such file",
        ),
        (["run", "--smaples=3"], "unknown option --smaples; did you mean --samples?"),
    ],
)
def test_mistakes_get_one_line(place, capsys, monkeypatch, arguments, says):
    from ragdist import evaluate as module
    from ragdist.tools.errors import run_command

    monkeypatch.chdir(place)
    _prepare(place)
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: module.main([*arguments, f"--cache={place / 'cache'}"]))
    assert ended.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert says in lines[0]


def _prepare(place):
    if (place / "started").exists():
        return
    from ragdist.config.shards import ShardOptions
    from ragdist.data.writing.writer import write_shards

    for name in ("started", "nothing", "large", "pictures"):
        (place / name).mkdir()
    shutil.copy(place / "run/config.yaml", place / "started/config.yaml")
    shutil.copy(place / "run/generator.safetensors", place / "elsewhere.safetensors")
    for i in range(20):
        (place / "large" / f"{i}.png").write_bytes(encoded(picture(0, (16, 16)), "png"))
        (place / "pictures" / f"{i}.png").write_bytes(encoded(picture(i), "png"))
    write_shards(str(place / "pictures"), place / "colour", ShardOptions())


def test_a_mistake_in_a_process(place):
    assert "there is no such measure" in refused(run(place, "run", "--metrics=fid,kid"))


class Planted:
    """A generator that does something wrong on purpose."""

    seen, labelled = None, False

    def __init__(self, images: torch.Tensor):
        self.images, self.about = images, {"kind": "folder", "path": "planted", "files": len(images)}

    def available(self, wanted):
        return min(wanted, len(self.images))

    def batches(self, numbers, batch):
        for first in range(numbers.start, numbers.stop, batch):
            images = self.images[first : min(first + batch, numbers.stop)]
            yield Batch(torch.arange(first, first + len(images)), images, torch.full((len(images),), -1))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Two halves of the digits, 16x16: one to train on, one held out; figures of planted generators."""
    from sklearn.datasets import load_digits

    from ragdist.config.shards import ShardOptions
    from ragdist.data.writing.writer import write_shards

    root = tmp_path_factory.mktemp("planted")
    digits = load_digits()
    pixels = (digits.images * 15.9).round().astype(np.uint8)
    for name, part in (("train", slice(0, 900)), ("held", slice(900, None))):
        np.savez(root / f"{name}.npz", images=pixels[part], labels=digits.target[part])
        write_shards(str(root / f"{name}.npz"), root / name, ShardOptions())
    train, held = (DataSet(str(root / name), root / "fetched") for name in ("train", "held"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifiers, "_SEEN", (8_000, 8_000))
        classifiers.classifier(train, root / "cache")
    copied, _ = train.samples(train.drawn(0))
    fresh, _ = held.samples(held.drawn(0))
    noise = torch.randint(-60, 61, fresh.shape, generator=torch.Generator().manual_seed(0))
    kinds = {
        "fresh": fresh,
        "copies": copied,
        "half of the classes": fresh[held.labels[held.drawn(0)] < 5],
        "noisy": (fresh.int() + noise).clamp(0, 255).byte(),
        "collapsed": fresh[:3].repeat(300, 1, 1, 1),
    }
    options = EvaluateOptions(cache=str(root / "cache"))
    return {
        name: measure(gather(Planted(images), train, options, held_out=held)).result for name, images in kinds.items()
    }


def test_fresh_data_are_nearly_perfect(planted):
    value = planted["fresh"].value
    assert value("precision") > 0.6
    assert value("recall") > 0.6
    assert value("fair_modes") == 10
    assert value("memorization_ratio") == pytest.approx(1, abs=1e-6)
    assert value("copies") == 0
    assert value("class_kl") < 0.05


def test_dropped_classes_show_in_recall_coverage_classes_and_distances(planted):
    fresh, half = planted["fresh"].value, planted["half of the classes"].value
    assert half("fair_modes") == 5
    assert half("class_kl") == pytest.approx(np.log(2), abs=0.15)
    assert half("coverage") < fresh("coverage") - 0.25
    assert half("recall") < fresh("recall") - 0.2
    assert half("precision") > fresh("precision") - 0.1
    assert half("frechet_distance") > 2 * fresh("frechet_distance")
    assert half("kid") > fresh("kid") + 3 * 1e-4


def test_copies_show_in_memorization_alone(planted):
    fresh, copies = planted["fresh"].value, planted["copies"].value
    assert copies("copies") == 1
    assert copies("memorization_ratio") == 0
    assert copies("authenticity") == 0
    assert copies("frechet_distance") < fresh("frechet_distance")
    assert copies("precision") == copies("recall") == copies("coverage") == 1


def test_noise_shows_in_precision_density_and_distances(planted):
    fresh, noisy = planted["fresh"].value, planted["noisy"].value
    assert noisy("precision") < fresh("precision")
    assert noisy("density") < fresh("density") - 0.1
    assert noisy("frechet_distance") > fresh("frechet_distance")
    assert noisy("memorization_ratio") > 1.05


def test_a_collapse_shows_in_diversity_recall_and_coverage(planted):
    fresh, collapsed = planted["fresh"].value, planted["collapsed"].value
    assert collapsed("ms_ssim") > fresh("ms_ssim") + 0.1
    assert collapsed("recall") < 0.1
    assert collapsed("coverage") < 0.1
    assert collapsed("fair_modes") <= 3


def test_images_are_rounded_as_files_are(tmp_path):
    from ragdist.modalities.image import preview

    samples = torch.linspace(-1.2, 1.2, 3 * 64).view(1, 3, 8, 8)
    stored = from_network(samples, Form((3, 8, 8)))
    preview.tiles(stored)[0].save(tmp_path / "0.png")
    (tmp_path / ".0.png.part-x").write_bytes(b"half")
    (tmp_path / ".samples.part-x").mkdir()
    (tmp_path / ".samples.part-x/0.png").write_bytes(b"half")
    files = FolderSamples(tmp_path, "image", Form((3, 8, 8)), 0)
    (found,) = files.batches(range(1), 1)
    assert torch.equal(found.samples, stored)
    assert (files.available(9), files.notes) == (1, [])
    (tmp_path / "old").mkdir()
    shutil.copy(tmp_path / "0.png", tmp_path / "old/1.JPG")
    assert FolderSamples(tmp_path, "image", Form((3, 8, 8)), 0).notes == [
        "judged as one: 1 .jpg and 1 .png files in 2 folders"
    ]


def test_history_keeps_protocols_apart_and_forgets_an_overwritten_run(tmp_path):
    path = tmp_path / history.FILE
    old = [
        {"samples": 5, "time": 10.0, "protocol": "p", "figures": {}},
        {"samples": 6, "time": 20.0, "protocol": "q", "figures": {}},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in old) + "rubbish\n")

    rows = history.remember(tmp_path, evaluated(7), since=15.0, run=tmp_path)
    assert [row["samples"] for row in rows] == [7]
    assert [row["samples"] for row in history.read_lines(path)] == [6, 7]
    assert history.curve([{"samples": 1, "a": 2}, {"samples": 2}], "a") == [(1, 2)]


def test_figures_of_other_code_are_not_of_one_curve(tmp_path):
    history.remember(tmp_path, evaluated(1, spread="toys 1.2"))
    history.remember(tmp_path, evaluated(2, spread="toys 1.3"))
    rows = history.remember(tmp_path, evaluated(3, spread="toys 1.3"))
    assert [(row["samples"], [*row["figures"]]) for row in rows] == [
        (1, ["kid"]),
        *((n, ["kid", "spread"]) for n in (2, 3)),
    ]
    (first, *_) = history.read_lines(tmp_path / history.FILE)
    assert first["code"] == {"spread": "toys 1.2"}
    assert [*first["figures"]] == ["kid", "spread"]


def evaluated(images: int, of: str = "a/generator.safetensors", **added: str) -> SimpleNamespace:
    """An evaluation, as far as its history goes."""
    protocol = {"samples": 1, "reals": 1, "neighbours": 1, "seed": 0, "held_out": None}
    protocol |= {"data": {"digest": "d"}, "features": {"sha256": "f"}}
    content = {
        "figures": {"kid": {"value": 1.0}, **{name: {"value": 1.0, "code": code} for name, code in added.items()}}
    }
    return SimpleNamespace(seen=images, protocol=protocol, content=lambda: content, samples={"path": of})


def test_what_is_judged_from_elsewhere_has_a_history_of_its_own(tmp_path):
    """Beside that of its run, if it is one: two runs never become one curve."""
    run, out = tmp_path / "run", tmp_path / "out"
    for folder in (run, out):
        folder.mkdir()
    for images in (3, 5, 9):
        history.remember(run, evaluated(images, "anything"), run=run)
    assert [row["samples"] for row in history.remember(out, evaluated(4))] == [4]
    assert [row["samples"] for row in history.remember(out, evaluated(6, "b"))] == [6]
    assert [row["samples"] for row in history.remember(out, evaluated(7), run=run)] == [3, 4, 5, 7]
    assert [row["samples"] for row in history.remember(out, evaluated(4))] == [4]
    assert [row["samples"] for row in history.read_lines(out / history.FILE)] == [4, 6, 7]
    assert [row["samples"] for row in history.remember(run, evaluated(9), run=run)] == [3, 5, 9]


REMEMBER = """
import sys
from pathlib import Path
from ragdist.evaluation.report import history
from tests.test_evaluate import evaluated
for images in range(int(sys.argv[2]), 60, 2):
    history.remember(Path(sys.argv[1]), evaluated(images))
"""


def test_two_that_evaluate_at_once_do_not_lose_each_others_figures(tmp_path):
    """A run that judges itself, and a command that judges it meanwhile."""
    both = [subprocess.Popen([sys.executable, "-c", REMEMBER, tmp_path, str(first)]) for first in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert [row["samples"] for row in history.read_lines(tmp_path / history.FILE)] == list(range(60))


def test_help_needs_no_pytorch(tmp_path):
    program = "import sys; from ragdist.evaluate import main\ntry: main(['--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for name in METRICS:
        assert name in result.stdout
    assert "--inception_weights" in result.stdout
