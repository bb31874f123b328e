"""``python -m ragdist.compare``: rows over seeds, the best, protocols apart, what is missing, mistakes."""

import json
import re
import shutil

import pytest
import yaml

from ragdist.evaluation.compare import compare, distance_to_ideal
from ragdist.evaluation.report import history
from ragdist.tools.errors import UserError
from tests.conftest import TINY, command, refused

COMPARE = "ragdist.compare"


@pytest.fixture(scope="module")
def run(tmp_path_factory, digits):
    """A tiny run that judged itself on its way, and was judged by the command."""
    cwd = tmp_path_factory.mktemp("compare")
    on_the_way = ["--evaluate_every=320", "--evaluate.share=1", "--evaluate.samples=100", "--evaluate.features=pixels"]
    options = [f"--data={digits}", "--out=one", "--samples=960", *on_the_way, f"--evaluate.cache={cwd / 'cache'}"]
    result = command("ragdist.train", *TINY, *options, cwd=cwd)
    assert result.returncode == 0, result.stderr
    few = ["--samples=200", "--features=pixels", "--metrics=frechet,precision_recall", f"--cache={cwd / 'cache'}"]
    result = command("ragdist.evaluate", "one", *few, "--device=cpu", cwd=cwd)
    assert result.returncode == 0, result.stderr
    return cwd / "one"


@pytest.fixture
def like(run, tmp_path):
    """Makes a run like that one, with other options and figures."""

    def make(name: str, *, distance: float | None = None, samples: int = 200, way: bool = False, **options):
        folder = shutil.copytree(run, tmp_path / name)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        for key, value in options.items():
            group, _, option = key.rpartition("__")
            (config[group] if group else config)[option] = value
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        rows = history.read_lines(folder / "evaluations.jsonl")
        key = history.protocol_key(json.loads((folder / "evaluation.json").read_text())["protocol"])
        rows = [json.dumps(row) for row in rows if way and row["protocol"] != key]  # without the command's
        (folder / "evaluations.jsonl").write_text("\n".join(rows))
        if distance is None:
            (folder / "evaluation.json").unlink()
        else:
            content = json.loads((folder / "evaluation.json").read_text())
            content["figures"]["frechet_distance"]["value"] = distance
            content["protocol"]["samples"] = samples
            (folder / "evaluation.json").write_text(json.dumps(content))
        return str(folder)

    return make


def test_rows_are_of_all_that_is_equal_but_the_seed(like):
    runs = [like(f"a{seed}", seed=seed, distance=distance) for seed, distance in ((2, 5.0), (0, 1.0), (1, 2.0))]
    runs.append(like("b", seed=0, distance=3.0, objective__lam=0.5))
    found = compare(runs)
    assert found.differing == ["objective.lam"]
    assert [row.options["objective.lam"] for row in found.rows] == [1.0, 0.5]
    assert [[run.seed for run in row.runs] for row in found.rows] == [[0, 1, 2], [0]]
    assert found.rows[0].figures["frechet_distance"] == (2.0, 1.0, 5.0, 3)
    assert ["frechet_distance" in row.best for row in found.rows] == [True, False]
    assert not found.rows[0].best & {"precision"}  # equal everywhere: nothing is best
    assert list(found.protocols) == ["A"]


def test_free_options_make_no_row_and_what_was_trained_on_does(like):
    found = compare([like("a", distance=1.0, device="cuda", workers="3"), like("b", distance=1.0, seed=1)])
    assert (len(found.rows), found.differing) == (1, [])
    found = compare([like("c", distance=1.0), like("d", distance=1.0, data__path="elsewhere")])
    assert (len(found.rows), found.differing) == (2, ["data.path"])


def test_figures_of_other_protocols_are_apart(like):
    runs = [like("a", distance=1.0), like("b", seed=1, distance=2.0, samples=300), like("c", seed=2, distance=3.0)]
    found = compare(runs)
    assert [(row.protocol, [run.seed for run in row.runs]) for row in found.rows] == [("A", [0, 2]), ("B", [1])]
    assert not any(row.best for row in found.rows)
    assert any("different protocols" in note for note in found.notes)


def test_the_protocol_that_most_runs_have_is_compared(like):
    runs = [like("a", distance=1.0, way=True), like("b", seed=1, way=True), like("c", seed=2, way=True)]
    found = compare(runs)
    assert len(found.rows) == 1
    assert found.rows[0].figures["frechet_distance"].count == 3
    assert all(run.evaluation.seen == 960 for run in found.rows[0].runs)
    assert "100 samples" in found.protocols["A"][1]["on_the_way"]


@pytest.mark.parametrize(("value", "ideal", "distance"), [(2.0, "less", 2.0), (2.0, "more", -2.0), (0.9, "1", 0.1),
                                                          (1.5, "0.97", 0.53), (2.0, "", None)])  # fmt: skip
def test_what_is_better(value, ideal, distance):
    assert distance_to_ideal(value, ideal) == pytest.approx(distance)


def test_the_command_prints_a_table_and_writes_a_page(like, tmp_path):
    for name, options in (("a", {}), ("b", {"seed": 1}), ("c", {"objective__lam": 0.0})):
        like(f"runs/{name}", distance=1.0 + len(options), way=True, **options)
    missing = like("it's", seed=5)
    result = command(COMPARE, "runs", missing, "runs/a", "--figures=frechet_distance,recall", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("objective.lam"))
    assert (
        re.split(" {2,}", lines[at]) == ["objective.lam", "seed", "frechet_distance", "recall"]
        or "protocol" in lines[at]
    )
    assert any(line.startswith("1.0") and "0,1" in line for line in lines)  # "runs/a", given twice, is one
    assert any("it's has no evaluation: python -m ragdist.evaluate '" in line for line in lines)
    page = (tmp_path / "comparison.html").read_text()
    assert "<b>" in page
    assert "Over the training" in page
    assert page.count("<svg") == 2
    assert "it&#x27;s" in page


def test_json_is_all_that_is_printed(like, tmp_path):
    runs = [like("a", distance=1.0), like("b", seed=1, distance=4.0)]
    result = command(COMPARE, *runs, "--json", cwd=tmp_path)
    content = json.loads(result.stdout)
    assert content["rows"][0]["figures"]["frechet_distance"] == {"median": 2.5, "least": 1.0, "most": 4.0, "count": 2}
    assert [run["seed"] for run in content["rows"][0]["runs"]] == [0, 1]
    assert content["protocols"]["A"]["samples"] == 200
    assert not (tmp_path / "comparison.html").exists()


def test_mistakes(like, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no run at nowhere" in refused(command(COMPARE, "nowhere", cwd=tmp_path))
    assert "holds no run" in refused(command(COMPARE, "empty", cwd=tmp_path))
    run = like("a", distance=1.0)
    with pytest.raises(UserError, match=r"no run has the figure 'frechet'.*frechet_distance"):
        compare([run], "frechet")
    (tmp_path / "a" / "evaluation.json").write_text("{")
    with pytest.raises(UserError, match=r"evaluation\.json is damaged.*evaluate the run again"):
        compare([run])


def test_an_evaluation_that_is_older_than_its_run_is_named(like, tmp_path):
    run = like("a", distance=1.0)
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    (tmp_path / "a" / "summary.json").write_text(json.dumps(summary | {"samples": 2000}))
    assert any("judged after 960 of 2,000" in note for note in compare([run]).notes)
