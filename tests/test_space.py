"""What a search varies, proposes, and lets go on: pure functions."""

import json
import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ragdist.config import Config, settings
from ragdist.config.run import flat
from ragdist.metrics import FEATURES
from ragdist.tools.errors import UserError
from tests import plugin
from tune import halving, plan, propose, space
from tune.folder import CRASHED, DIVERGED, FINISHED, RUNNING, STOPPED, Rung, SearchFolder, Trial
from tune.importance import importance
from tune.options import SearchOptions
from tune.space import Axis
from tune.state import SearchState

LAM = Axis("objective.lam", "loguniform", 0.1, 10)
WHERE = "--space here: "


def config(*argv: str) -> Config:
    return settings.parse(list(argv), "train")[0]


# The space.


ends = st.floats(1e-6, 1e6).flatmap(lambda low: st.tuples(st.just(low), st.floats(low, 1e7)))


@given(ends, st.sampled_from(["uniform", "loguniform", "int"]), st.floats(0, 1), st.integers(2, 9))
def test_values_lie_in_their_range_and_in_order(ends, kind, share, count):
    low, high = (math.floor(end) for end in ends) if kind == "int" else ends
    assume(low * 1.001 < high)
    axis = Axis("x", kind, low, high)
    assert axis.holds(axis.at(share))
    assert axis.at(0) <= axis.at(share) <= axis.at(1)
    values = axis.grid(count)
    assert values == sorted(values)
    assert all(map(axis.holds, values))
    assert len(set(values)) == len(values) <= count
    assert values[0] == pytest.approx(low)
    assert values[-1] == pytest.approx(high)


def test_each_value_gets_its_share():
    assert [Axis("x", "int", 1, 4).at(i / 8) for i in range(9)] == [1, 1, 2, 2, 3, 3, 4, 4, 4]
    assert [Axis("x", "choice", choices=("a", "b")).at(share) for share in (0, 0.49, 0.5, 1)] == ["a", "a", "b", "b"]
    assert LAM.at(0.5) == pytest.approx(1.0)


def test_a_file_may_name_any_option_of_a_run():
    content = {
        "objective": {"lam": {"loguniform": ["1e-2", 10]}, "pairing": {"choice": ["cover", "all"]}},
        "optim.beta1": {"uniform": [0, 0.9]},
        "network.labels": {"choice": [True, False]},
        "batch_size": {"int": [32, 64]},
        "objective.p": {"choice": [1, 2]},
        "objective.r1": {"loguniform": [0.1, 10]},
        "objective.r2": {"choice": ["auto", 1]},
    }
    axes = space.parse(content, config(), "here")
    assert [axis.name for axis in axes][:2] == ["objective.lam", "objective.pairing"]
    again = space.parse({axis.name: axis.content() for axis in axes}, config(), "there")
    assert again == axes
    values = {axis.name: axis.at(0.9) for axis in axes}
    base = config()
    before, after = flat(base), flat(space.varied(base, values))
    assert {name: after[name] for name in values} == values
    assert {name for name in after if after[name] != before[name]} <= set(values)


@pytest.mark.parametrize(("content", "says"), [
    ({"objective.lamda": {"uniform": [0, 1]}}, "unknown option objective.lamda; did you mean 'objective.lam'?"),
    ({"objective": {"lamm": {"uniform": [0, 1]}}}, "unknown option objective.lamm; did you mean 'objective.lam'?"),
    ({"objective.lam": {"uniform": [3, 3]}}, "the range from 3 to 3 is empty"),
    ({"objective.lam": {"loguniform": [3, 1]}}, "the range from 3 to 1 is empty"),
    ({"objective.lam": {"loguniform": [0, 1]}}, "it must begin above 0"),
    ({"objective.lam": {"choice": []}}, "the choice is empty"),
    ({"objective.lam": {"unifrom": [0, 1]}}, "unknown kind unifrom; did you mean 'uniform'?"),
    ({"objective.lam": {"uniform": [0, 1, 2]}}, "uniform needs a list of two numbers"),
    ({"objective.lam": {"uniform": ["a", 1]}}, "'a' is not a number"),
    ({"objective.lam": {"uniform": [0, math.inf]}}, "'inf' is not a number"),
    ({"objective.lam": [0, 1]}, "give one of uniform, loguniform, int, choice"),
    ({"objective.lam": {"uniform": [-1, 1]}}, "--objective.lam -1.0: it must be 0 or more"),
    ({"optim.beta1": {"uniform": [0, 1]}}, "--optim.beta1 1.0: it must be from 0 to below 1"),
    ({"batch_size": {"uniform": [32, 64]}}, "it is a whole number: give int"),
    ({"batch_size": {"int": [32, 64.5]}}, "int needs whole numbers"),
    ({"objective.pairing": {"uniform": [0, 1]}}, "give a choice of cover, nearest"),
    ({"objective.pairing": {"choice": ["covr"]}}, "there is no pairing 'covr' here or in a --plugin; did you mean 'cover'?"),
    ({"network.labels": {"choice": ["perhaps"]}}, "'perhaps' is not true or false"),
    ({"objective.r1": {"choice": ["automatic"]}}, "'automatic' is not a number"),
    ({"network.depth": {"choice": [1, "two"]}}, "'two' is not a whole number"),
    ({"seed": {"int": [0, 3]}}, "seed is not searched"),
    ({"workers": {"choice": ["0"]}}, "workers does not change what is trained"),
    ([], "it must name options"),
    ("lam", "it must name options"),
])  # fmt: skip
def test_mistakes_in_a_space(content, says):
    with pytest.raises(UserError) as error:
        space.parse(content, config(), "here")
    assert says in str(error.value)
    assert str(error.value).startswith("--space here: ")
    assert "\n" not in str(error.value)


# What goes on.


@given(st.lists(st.floats(0, 100), max_size=30), st.floats(0, 100), st.sampled_from([-1, 1]))
def test_the_best_part_goes_on(others, value, sign):
    goes_on = halving.goes_on(value, others, sign)
    better = sum(sign * other > sign * value for other in others)
    assert goes_on == (better == 0 or better < (len(others) + 1) / halving.REDUCTION)
    if goes_on:  # better ones do, too
        assert halving.goes_on(value + sign, others, sign)


@given(st.integers(1, 10**7), st.integers(2, 512))
def test_rungs_end_with_the_budget_in_whole_updates(budget, batch):
    rungs = halving.rungs(budget, batch)
    assert 1 <= len(rungs) <= halving.RUNGS
    assert rungs == sorted(set(rungs))
    assert all(seen % batch == 0 for seen in rungs)
    assert budget <= rungs[-1] < budget + batch


# What is proposed.


def trial(number: int, lam: float, value: float | None, state: str = FINISHED) -> Trial:
    rungs = [] if value is None else [Rung(100, value, [value], 1.0)]
    return Trial(number, "", {"objective.lam": lam}, state, rungs=rungs)


@pytest.mark.parametrize("kind", ["optuna", "random"])
def test_a_proposal_depends_on_what_is_known_alone(kind):
    known = [trial(i, 0.1 * 1.5**i, float(i), state) for i, state in enumerate([FINISHED, STOPPED] * 5)]
    known += [trial(10, 3.0, None, DIVERGED), trial(11, 0.3, None, RUNNING), trial(12, 0.0, 1.0)]
    one, again, other = (propose.propose(kind, [LAM], known, n, seed=1, sign=-1) for n in (13, 13, 14))
    assert one == again != other
    assert LAM.holds(one["objective.lam"])


def test_optuna_learns():
    """From trials whose metric is |log λ| it goes to λ = 1, wherever they lie; chance does not."""
    known = [trial(i, lam := LAM.at((i + 0.5) / 24), abs(math.log(lam))) for i in range(24)]

    def off(kind):
        return sum(abs(math.log(propose.propose(kind, [LAM], known, n, seed=0, sign=-1)["objective.lam"]))
                   for n in range(24, 36)) / 12  # fmt: skip

    assert off("optuna") < 0.6 < off("random")


def test_a_grid_is_as_fine_as_there_is_room():
    rate = Axis("optim.g_lr", "loguniform", 1e-4, 1e-2)
    assert len(propose.grid([LAM, rate], 10)) == 9
    assert len(propose.grid([LAM, Axis("objective.p", "choice", choices=(1, 2))], 10)) == 10
    assert propose.grid([Axis("network.depth", "int", 1, 3)], 50) == [{"network.depth": n} for n in (1, 2, 3)]
    with pytest.raises(UserError, match="at least 4 points"):
        propose.grid([LAM, rate], 3)


# The state of a search whose trials are only numbers.


def search_state(folder, trials=12, *argv, **options) -> SearchState:
    base = config("--samples=3000", "--batch_size=10", *argv)
    options = SearchOptions(trials=trials, budget_samples=400, **options)
    place = SearchFolder(folder)
    place.trials.mkdir(parents=True, exist_ok=True)
    return SearchState(plan.make(base, options, [LAM]), place)


def metric(values: dict, seen: int, seed: int = 0) -> float:
    return abs(math.log(values["objective.lam"] + 0.01)) + 10 / seen + seed


def play(search: SearchState, until: int = 10**9) -> list[int]:
    """Make trials to their ends, one after the other; the numbers of those that began."""
    begun = []
    while len(begun) < until and (trial := search.next()):
        begun.append(trial.number)
        for seen in search.plan.rungs:
            if seen <= trial.seen:
                continue
            if trial.options["objective.lam"] > 5 and seen > 100:
                search.diverged(trial.number, "not finite")
                break
            values = [metric(trial.options, seen, seed) for seed in range(search.plan.options.seeds)]
            if not search.record(trial.number, seen, values, 1.0):
                break
    return begun


def test_a_search_from_its_beginning_to_its_end(tmp_path):
    search = search_state(tmp_path, 40, seeds=3, search="random")
    assert play(search) == list(range(40))
    trials = [search.trials[number] for number in range(40)]
    assert [(t.name, t.options["objective.lam"]) for t in trials[:2]] == [("default", 1.0), ("lambda 0", 0.0)]
    assert trials[1].state == FINISHED, "a baseline gets the whole budget, however bad"
    assert {t.state for t in trials} == {FINISHED, STOPPED, DIVERGED}
    assert all(t.options["objective.lam"] > 5 for t in trials if t.state == DIVERGED)
    assert all(t.value == t.rungs[-1].values[1] for t in trials if t.rungs), "the median of the seeds"
    stopped = [t.value for t in trials if t.state == STOPPED]
    finished = [t.value for t in trials if t.state == FINISHED and not t.name]
    assert sorted(finished)[len(finished) // 2] < sorted(stopped)[len(stopped) // 2]
    assert search.folder.read() == trials
    assert search.next() is None
    assert search.left == 0


@pytest.mark.parametrize("kind", ["optuna", "random"])
def test_an_interrupted_search_is_the_same_search(tmp_path, kind):
    whole = search_state(tmp_path / "whole", 10, search=kind, scheduler="none")
    play(whole)
    broken = search_state(tmp_path / "broken", 10, search=kind, scheduler="none")
    play(broken, 4)
    running = broken.next()
    assert broken.record(running.number, 100, [metric(running.options, 100)], 1.0)
    again = search_state(tmp_path / "broken", 10, search=kind, scheduler="none")
    assert again.left == 6
    assert play(again)[0] == running.number, "what was begun comes first"
    assert again.trials == whole.trials


def test_what_crashed_is_tried_again_and_more_trials_extend_a_search(tmp_path):
    search = search_state(tmp_path, 3)
    search.crashed(search.next().number, "its node died")
    assert play(search) == [1, 2]
    assert search.trials[0].state == CRASHED
    assert play(search_state(tmp_path, 5)) == [0, 3, 4]
    assert {t.state for t in search_state(tmp_path, 5).trials.values()} <= {FINISHED, STOPPED, DIVERGED}


def test_a_metric_that_is_not_finite_is_a_divergence(tmp_path):
    search = search_state(tmp_path, 3)
    assert not search.record(search.next().number, 100, [1.0, math.nan, math.nan], 1.0)
    assert search.trials[0].state == DIVERGED
    assert "after 100 samples is not finite" in search.trials[0].reason


def test_where_lambda_is_0_there_is_one_baseline(tmp_path):
    assert [name for name, _ in search_state(tmp_path, 2, "--objective.lam=0").baselines] == ["lambda 0"]


def test_another_search_is_refused_and_named(tmp_path):
    one, path = search_state(tmp_path).plan, tmp_path / "search.json"
    path.write_text(json.dumps(one.content()))
    plan.same(one, path)
    again = plan.read(path)
    assert again.content() == one.content()
    plan.same(search_state(tmp_path, 99).plan, path)  # more trials are the same search
    for other, says in (
        (search_state(tmp_path, 12, "--optim.beta1=0.5").plan, "optim.beta1 0.0 -> 0.5"),
        (search_state(tmp_path, 12, seeds=2).plan, "seeds 1 -> 2"),
        (plan.make(one.config, one.options, [Axis("objective.lam", "loguniform", 0.1, 20)]), "space"),
    ):
        with pytest.raises(UserError, match="holds another search") as error:
            plan.same(other, path)
        assert says in str(error.value)
    path.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        plan.same(one, path)


def test_the_version_of_the_package_that_judges_is_part_of_a_search(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def judged() -> plan.Plan:
        monkeypatch.setattr(FEATURES, "_installed", None)
        return search_state(tmp_path, features="toy_pixels").plan

    plugin.install(tmp_path, "1.2")
    path = tmp_path / "search.json"
    path.write_text(json.dumps(judged().content()))
    plan.same(judged(), path)
    plugin.install(tmp_path, "1.3")
    with pytest.raises(UserError, match=r"features is from toys 1\.3, and was from toys 1\.2"):
        plan.same(judged(), path)


# What is shown.


def test_importance_finds_the_option_that_matters():
    axes = [LAM, Axis("optim.beta1", "uniform", 0, 0.9)]
    trials = []
    for i in range(20):
        options = {axis.name: axis.at((7 * i * (k + 1) + 3) % 20 / 20) for k, axis in enumerate(axes)}
        value = abs(math.log(options["objective.lam"]))
        trials.append(Trial(i, "", options, FINISHED, rungs=[Rung(100, value, [value], 1.0)]))
    shares, seen, count = importance(axes, trials, [100], -1)
    assert shares["objective.lam"] > 0.7 > 0.3 > shares["optim.beta1"]
    assert (seen, count) == (100, 20)
    assert importance(axes, trials[:3], [100], -1) == ({}, 0, 0)


def test_the_page_of_a_search_draws_its_trials(tmp_path):
    from tune import report

    search = search_state(tmp_path, 30, "--objective.lam=1", seeds=2)
    play(search)
    page = report.build(search)
    assert page.count("<svg") == 3
    for title in ("over the options", "Parallel coordinates", "Learning curves"):
        assert title in page
    for trial in search.trials.values():
        assert not trial.rungs or page.count(f"<title>trial {trial.number}: ") >= 3
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(re.findall(r'id="([^"]*)"', page))
    assert sum(map(len, re.findall("<svg.*?</svg>", page))) < 200_000
