"""``python -m tune.search``: find good values of a run's options, and say how sure that is."""

import difflib
import re
import time
from dataclasses import fields
from pathlib import Path

from ragdist.config import Config, cli, migrations, settings, world_size
from ragdist.config.evaluation import BEST
from ragdist.config.option import check_limits
from ragdist.config.run import flat
from ragdist.launch.on_ray import environment
from ragdist.metrics import FEATURES
from ragdist.tools.errors import UserError, run_command
from tune import metrics, space
from tune import plan as plans
from tune.options import SearchOptions
from tune.plan import Plan

_PROG = "python -m tune.search"
_OWN = {item.name for item in fields(SearchOptions)}


def main(argv: list[str] | None = None) -> int:
    began = time.monotonic()
    plan, out, overwrite = parse(cli.arguments() if argv is None else argv)
    environment.require("a search")

    from tune.run import run  # after parsing: PyTorch and Ray take seconds to import, --help does not need them

    return run(plan, out, overwrite=overwrite, began=began)


def parse(argv: list[str]) -> tuple[Plan, Path, bool]:
    """Parse a command line: the plan, the folder, and whether --overwrite is given.

    Raises:
        UserError: an option, value or file that is wrong.
    """
    parser = cli.Parser(
        prog=_PROG,
        description="Search lambda and the learning rates, or other options of a run. "
        "Started again, the same command continues the search. How long a run is, is given as --images here.",
        epilog="Beside these: any option of python -m ragdist.train, such as --config and --data, for all trials. "
        "Figures for --metric: " + ", ".join(BEST) + ".",
    )
    parser.add_class_arguments(SearchOptions, None, as_group=False)
    own, others = _sorted(argv)
    own, others = migrations.SEARCH.words(own), migrations.OPTIONS.words(others)
    options = cli.build(SearchOptions, parser.parse_args(own))
    _known(others)
    try:
        config, overwrite = settings.parse(others, _PROG)
    except UserError as error:  # --samples of a search is another option
        raise type(error)(re.sub(r"--samples(?= )", "--images", str(error))) from error
    if config.workers != "auto":
        raise UserError(f"--workers {config.workers}: of a search say --workers_per_trial")
    config = space.varied(config, {"workers": options.workers_per_trial})
    check(options)
    axes = space.load(Path(options.space), config) if options.space else space.default_space(config)
    out = Path(options.out or Path("searches") / Path(config.out).name)
    return plans.make(config, options, axes), out, overwrite


def check(options: SearchOptions) -> None:
    """Refuse options outside of their limits.

    Raises:
        UserError: naming the option and what it may be.
    """
    check_limits(options)
    metrics.check(options.metric)
    if options.features != "auto":
        FEATURES.check(options.features, f"--features {options.features}")
    if options.workers_per_trial == "auto":
        raise UserError("--workers_per_trial auto: say how many, as 4, or a range as 2:8, or 0")
    try:
        world_size.parse(options.workers_per_trial)
    except UserError as error:
        raise UserError(str(error).replace("--workers", "--workers_per_trial")) from error
    if options.scheduler == "pbt":
        raise UserError(
            "--scheduler pbt is not offered: its result is no configuration that a run could be repeated with "
            "(docs/tuning.md); choose asha or none"
        )
    if "://" in options.out:
        raise UserError(f"--out {options.out}: a search is kept in a folder, which on a cluster all nodes share")


def _sorted(argv: list[str]) -> tuple[list[str], list[str]]:
    """Sort words of a command line into the search's and the run's; names of earlier versions stay what they are.

    --samples is the search's. The run's option of that name is given as --images.
    """
    own: list[str] = []
    others: list[str] = []
    into = others
    for word in argv:
        if word in ("-h", "--help"):
            into = own
        elif word.startswith("--"):
            into = own if migrations.SEARCH.name(word[2:].partition("=")[0]) in _OWN else others
        into.append(word)
    return own, others


def _known(words: list[str]) -> None:
    """Refuse an option that neither a search nor a run has."""
    known = [*sorted(_OWN), *flat(Config()), "config", "data", "overwrite"]
    for word in words:
        name = word.removeprefix("--").partition("=")[0]
        if word.startswith("--") and name not in known:
            close = [option for option in known if option.rpartition(".")[2] == name]
            close += difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean --{close[0]}?" if close else f"see {_PROG} --help"
            raise UserError(f"unknown option --{name}; {hint}")


if __name__ == "__main__":
    run_command(main)
