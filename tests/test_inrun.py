"""Evaluation in the loop: the figures are the command's, the best is kept, nothing changes the run, any world."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from ragdist.config import settings
from ragdist.config.evaluation import EvaluateOptions
from ragdist.data import index as index_file
from ragdist.distributed.world import World
from ragdist.evaluation.during_training import EvaluationDuringTraining
from ragdist.evaluation.evaluate import gather, measure
from ragdist.evaluation.reference_data import DataSet
from ragdist.evaluation.report import history
from ragdist.evaluation.samples import GeneratorSamples
from ragdist.generation import generator_file
from ragdist.runs import checkpoint
from ragdist.runs.folder import RunFolder
from ragdist.training.trainer import Trainer
from tests.conftest import TINY, command, refused
from tests.ranks import on_ranks

CPU = torch.device("cpu")
SETTINGS = ["--evaluate.samples=600", "--evaluate.features=pixels", "--evaluate.share=1"]
SAMPLES, EVERY = 1920, 640


@pytest.fixture(scope="module")
def place(tmp_path_factory, digits) -> Path:
    """A folder with a run that evaluates, after 640, 1,280 and 1,920 samples, and one that does not."""
    cwd = tmp_path_factory.mktemp("inrun")
    options = [*TINY, f"--data={digits}", f"--samples={SAMPLES}", "--checkpoint.every=320", "--checkpoint.keep=1"]
    loop = [
        *SETTINGS,
        "--monitor.tensorboard=true",
        f"--evaluate_every={EVERY}",
        f"--evaluate.cache={cwd / 'cache'}",
        "--evaluate.best=precision",
    ]
    result = command("ragdist.train", *options, *loop, "--out=run", cwd=cwd)
    assert result.returncode == 0, result.stderr
    (cwd / "said").write_text(result.stdout)
    plain = command("ragdist.train", *options, "--out=plain", cwd=cwd)
    assert plain.returncode == 0, plain.stderr
    return cwd


def rows(run: Path) -> list[dict]:
    return history.read_lines(run / "evaluations.jsonl")


def test_a_run_is_judged_on_its_way_and_shows_it(place):
    run, said = place / "run", (place / "said").read_text()
    assert [row["samples"] for row in rows(run)] == [640, 1280, 1920]
    assert len({row["protocol"] for row in rows(run)}) == 1
    assert len(re.findall(r"evaluation after [\d,]+ images: .*precision", said)) == 3
    logged = [row for row in history.read_lines(run / "metrics.jsonl") if "evaluate/kid" in row]
    assert [row["samples"] for row in logged] == [640, 1280, 1920]
    shares = [row["evaluation_share"] for row in history.read_lines(run / "metrics.jsonl") if "loss_g" in row]
    assert 0 <= shares[0] < shares[-1] < 1
    assert not any("evaluation_share" in row for row in history.read_lines(place / "plain/metrics.jsonl"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run)).Reload()
    assert [event.step for event in board.Scalars("evaluate/frechet_distance")] == [640, 1280, 1920]


def test_evaluation_changes_nothing(place):
    weights = [json.loads((place / name / "summary.json").read_text())["weights_sha256"] for name in ("run", "plain")]
    assert weights[0] == weights[1]


def test_the_command_gives_the_same_figures(place):
    run, last = place / "run", rows(place / "run")[-1]
    options = ["--samples=600", "--features=pixels", "--metrics=cheap", f"--cache={place / 'cache'}", "--device=cpu"]
    copy = shutil.copytree(run, place / "copy")
    result = command("ragdist.evaluate", copy, *options, cwd=place)
    assert result.returncode == 0, result.stderr
    again = rows(copy)
    assert [row["protocol"] for row in again] == [last["protocol"]] * 3  # of one curve; it took the last one's place
    assert again[-1]["time"] != last["time"]
    assert again[-1]["figures"] == pytest.approx(last["figures"], rel=1e-6)
    assert "images" in (copy / "evaluation.html").read_text()


def test_the_best_is_kept_as_a_file_and_as_a_checkpoint(place):
    run = RunFolder(place / "run")
    best = max(rows(run.path), key=lambda row: row["figures"]["precision"])
    about = generator_file.about(run.best)
    assert about["evaluation"]["value"] == best["figures"]["precision"]
    assert about["samples"] == about["evaluation"]["samples"]
    there = checkpoint.listed(run.checkpoints)
    assert checkpoint.path_of(run.checkpoints, about["samples"]) in there
    state = torch.load(checkpoint.path_of(run.checkpoints, about["samples"]) / "state.pt", weights_only=True)
    assert generator_file.weights_sha256(state["ema"]) == about["weights_sha256"]
    assert command("ragdist.generate", "run/best.safetensors", "--n=4", cwd=place).returncode == 0


def trainer_of(place: Path, out: Path, *more: str, world: World | None = None) -> Trainer:
    config, _ = settings.parse(
        [*TINY, *SETTINGS, "--data", str(place / "run"), f"--evaluate_every={EVERY}", f"--samples={SAMPLES}",
         f"--evaluate.cache={place / 'cache'}", "--out", str(out), "--evaluate.best=precision", *more], "test",
    )  # fmt: skip
    config.data.path = settings.read(place / "run/config.yaml")["data.path"]
    index = index_file.load(config.data.path)
    return Trainer(config, world or World(0, 1, CPU), index, RunFolder(out))


def test_a_restart_knows_the_best_and_judges_what_is_missing(place, tmp_path):
    run = RunFolder(shutil.copytree(place / "run", tmp_path / "run"))
    kept = rows(run.path)
    run.evaluations.write_text("".join(json.dumps(row) + "\n" for row in kept[:-1]))  # killed before the last one
    trainer = trainer_of(place, run.path)
    said = []
    trainer.prepare(said.append)
    evaluations: EvaluationDuringTraining = trainer.evaluations
    assert evaluations.best == generator_file.about(run.best)["evaluation"]
    assert list(evaluations.missing) == [1920]
    assert run.protected <= trainer.folder.protected == {evaluations.best["samples"], 1920}
    trainer.train(_Silent())
    assert rows(run.path)[-1]["figures"] == pytest.approx(kept[-1]["figures"], rel=1e-6)
    assert len(rows(run.path)) == 3


def test_one_that_fails_is_said_and_one_too_many_is_left_out(place, tmp_path):
    trainer = trainer_of(place, tmp_path)
    said = []
    trainer.prepare(said.append)
    evaluations: EvaluationDuringTraining = trainer.evaluations
    weights = trainer.ema.state_dict()
    broken = {name: torch.full_like(value, torch.nan) for name, value in weights.items()}
    evaluations.begin(640, broken)
    assert evaluations.busy
    assert evaluations.wanted()
    assert not evaluations.follow(1280, trainer.ema, go_on=False)
    assert "no evaluation after 1,280 images: that of 640 is under way" in said[-1]
    while evaluations.busy:
        evaluations.step()
    assert "failed, and the run goes on: the generator's samples are not finite" in said[-1]
    assert not (tmp_path / "evaluations.jsonl").exists()
    evaluations.begin(1280, weights)
    evaluations.share = 1e-9
    assert not evaluations.wanted()  # its share of the time is used up


def test_the_time_that_evaluations_take_is_bounded(place, tmp_path):
    trainer = trainer_of(place, tmp_path, "--evaluate.share=0.25")
    trainer.prepare(lambda line: None)
    evaluations: EvaluationDuringTraining = trainer.evaluations
    clock = [0.0]
    evaluations._clock = lambda: clock.__setitem__(0, clock[0] + 0.5) or clock[0]  # a step takes half a second
    evaluations._began, evaluations.spent = 0.0, 0.0
    import ragdist.evaluation.during_training as module

    taken = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.time, "perf_counter", lambda: now)
        now = 0.0
        evaluations.begin(640, trainer.ema.state_dict())
        for _ in range(40):
            now += 1.0
            if evaluations.wanted():
                evaluations.step()
                taken += 1
            assert evaluations.spent <= 0.25 * now + 0.5
    assert taken == evaluations.spent / 0.5 >= 4


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--evaluate.samples=3", "3 samples are too few for the measure kid, which needs 4"),
        ("--evaluate.metrics=fid", "--evaluate.metrics fid: there is no such measure"),
        ("--evaluate.best=fid", "--evaluate.best fid: there is no such figure"),
        ("--evaluate.best=authenticity", "needs the measure memorization"),
        ("--evaluate.share=0", "--evaluate.share 0.0: it must be above 0"),
    ],
)
def test_mistakes_end_a_run_before_it_begins(place, tmp_path, option, says):
    from ragdist.tools.errors import UserError

    def begin():
        trainer = trainer_of(place, tmp_path, option)
        trainer.prepare(lambda line: None)

    with pytest.raises(UserError) as found:
        begin()
    assert says in str(found.value)


def test_a_mistake_in_a_process_and_what_overwrite_deletes(place, tmp_path):
    data = settings.read(place / "run/config.yaml")["data.path"]
    run = shutil.copytree(place / "run", tmp_path / "run")
    (run / "evaluation.html").touch()
    result = command("ragdist.train", *TINY, f"--data={data}", "--out=run", "--overwrite", "--evaluate_every=640",
                     "--evaluate.features=inception", "--evaluate.inception_weights=none.pth", cwd=tmp_path)  # fmt: skip
    assert "there is no such file" in refused(result)
    left = {path.name for path in run.iterdir()}
    assert not left & {"best.safetensors", "evaluations.jsonl", "evaluation.html", "summary.json"}


class _Silent:
    """A monitor that shows nothing."""

    has_pictures = False

    def __getattr__(self, name):
        return lambda *arguments, **named: None


def judge(world: World, place: Path, generator: Path, cache: Path, features: str) -> dict | None:
    """One rank of an evaluation; its figures, on rank 0."""
    data = DataSet(settings.read(place / "run/config.yaml")["data.path"], cache)
    options = EvaluateOptions(
        samples=601, features=features, metrics="all", cache=str(cache), batch=64, neighbours=512, reals=1000
    )
    samples = GeneratorSamples(generator_file.load(generator, CPU), generator, 0, None)
    found = measure(gather(samples, data, options, world=world, say=lambda line: None))
    return found and {name: figure["value"] for name, figure in found.content()["figures"].items()}


def judge_all(world: World, place: Path, cache: Path) -> list:
    generator = place / "run/generator.safetensors"
    return [judge(world, place, generator, cache / name, name) for name in ("pixels", "laplacian")]


def test_the_figures_are_the_same_in_any_world(place, tmp_path):
    """Everything that can be measured offline, in worlds that cut the batches unevenly; more ranks than batches, too."""
    worlds = {size: on_ranks(size, judge_all, place, tmp_path / str(size)) for size in (1, 2, 3)}
    for size in (2, 3):
        assert worlds[size][1:] == [[None, None]] * (size - 1)  # nothing is gathered anywhere else
        for found, alone in zip(worlds[size][0], worlds[1][0], strict=True):
            assert len(alone) > 12
            assert found == pytest.approx(alone, rel=1e-6, abs=1e-9)


def train_and_judge(world: World, place: Path, out: Path) -> list[str]:
    """One rank of a run that evaluates; what rank 0 said."""
    trainer = trainer_of(place, out, world=world)
    for folder in (trainer.folder.checkpoints, trainer.folder.samples):
        folder.mkdir(parents=True, exist_ok=True)
    said: list[str] = []
    trainer.prepare(said.append)
    trainer.train(_Saying(said) if world.rank == 0 else None)
    return said


class _Saying(_Silent):
    def __init__(self, said: list[str]):
        self.say = said.append


def test_workers_judge_together_on_their_way(place, tmp_path):
    said = on_ranks(3, train_and_judge, place, tmp_path / "run")
    found, alone = rows(tmp_path / "run"), rows(place / "run")
    assert [row["samples"] for row in found] == [640, 1280, 1920]
    assert [row["protocol"] for row in found] == [row["protocol"] for row in alone]
    assert len([line for line in said[0] if line.startswith("evaluation after")]) == 3
    assert said[1:] == [[], []]
    assert generator_file.about(tmp_path / "run/best.safetensors")["evaluation"]["figure"] == "precision"
