"""A run's configuration from the command line, the preset, and the run's own folder."""

import re
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

import ragdist
from ragdist.config import Config, cli, division, migrations, world_size
from ragdist.config.option import check_limits
from ragdist.config.run import flat
from ragdist.metrics import FEATURES
from ragdist.tools import plugins
from ragdist.tools.errors import UserError

DEFAULT = "digits"
CONFIG = "config.yaml"
_GROUPS = tuple(item.name for item in fields(Config) if is_dataclass(item.type))
_SHORT = {"--data": "--data.path", "--augment": "--augment.transforms"}
VERSION = "version"  # beside the options: which ragdist wrote them


def parse(argv: list[str], prog: str) -> tuple[Config, bool]:
    """The configuration that a command line asks for, and whether it says --overwrite.

    Defaults, then the preset or file of --config, then options. Without --config the base is the
    configuration of the run that --out names, where there is one, else the preset `digits`.

    Raises:
        UserError: an option, value or file that is wrong.
    """
    argv, _ = cli.one_plugin(migrations.OPTIONS.words(_expanded(argv)))
    name, argv = _config_argument(_groups_of_today(argv))
    if "--data.path" in argv and "--data.source" not in argv:
        argv = [*argv, "--data.source", ""]  # a mistyped folder must not be filled with the preset's data
    if "--init_from" in argv and "--init_sha256" not in argv:
        argv = [*argv, "--init_sha256", ""]  # a run's own configuration may have another source's
    if name is None and not {"-h", "--help"} & set(argv):
        out = next((b for a, b in pairwise(argv) if a == "--out"), None)
        own = Path(out) / CONFIG if out else None
        name = str(own) if own and own.is_file() else DEFAULT
    if name is not None:
        argv = ["--config", _as_of_today(cli.config_file(name)), *argv]
    try:
        values = _parser(prog).parse_args(argv)
    except UnicodeDecodeError as error:
        raise UserError(f"--config {name}: it is no text in UTF-8") from error
    except UserError as error:
        if "Unexpected config:" in str(error):
            raise UserError(f"--config {name}: it holds no options") from error
        if "Problems parsing config" not in str(error):
            raise
        raise UserError(f"--config {name}: it is no YAML ({str(error).partition(': ')[2]})") from error
    config = cli.build(Config, values)
    plugins.load(cli.plugin_files(config.plugin))  # before choices are checked, which they add to
    if not config.out:
        config.out = str(Path("runs") / Path(name).stem)
    check(config)
    return config, values.overwrite


def _parser(prog: str) -> cli.Parser:
    parser = cli.Parser(
        prog=prog,
        description="Train a relatively augmented GAN. Started again, the same command continues the run.",
        epilog="--data WHERE is short for --data.path WHERE. Presets: " + ", ".join(cli.presets()) + ".",
    )
    parser.add_argument("--config", action="config", help="preset or YAML file with options", metavar="NAME_OR_FILE")
    parser.add_argument("--overwrite", action="store_true", help="delete the run in --out and start anew")
    parser.add_class_arguments(Config, None, as_group=False)
    for action in parser._actions:  # jsonargparse offers to read each group from a file of its own
        if action.option_strings == ["--data"]:
            action.metavar, action.help = "WHERE", "folder of shards or its URL, short for --data.path"
        if action.option_strings == ["--augment"]:
            action.metavar, action.help = "NAMES", "transforms in front of D: diffaugment, ada, ..."
        if action.option_strings == ["--print_config"]:
            action.help = "print the configuration as the YAML that --config takes, and end"
    return parser


def _expanded(argv: list[str]) -> list[str]:
    """Split ``--option=value`` into two words, and spell out short ones."""
    words = []
    for word in argv:
        option, equals, value = word.partition("=")
        words += [option, value] if equals and option.startswith("--") else [word]
    return [_SHORT.get(word, word) for word in words]


def _groups_of_today(argv: list[str]) -> list[str]:
    """The words of a command line, with groups that are said as a whole (``--optim FILE``) by today's names."""
    names = [word.removeprefix("--") if word.startswith("--") else "" for word in ("", *argv)]
    found = (_group(name, word, Path()) if name in _GROUPS else word for name, word in zip(names, argv, strict=False))
    return [word if isinstance(word, str) else yaml.safe_dump(word, default_flow_style=True) for word in found]


def _group(name: str, value: str, folder: Path) -> dict[str, Any] | str:
    """The options of a group that are said as a file in a folder, or as YAML, by today's names.

    What is neither is returned as it is: the parser says what is wrong with it.
    """
    try:
        file = folder / value
        said = yaml.safe_load(file.read_text() if file.is_file() else value)
    except (OSError, ValueError, yaml.YAMLError):
        return value
    if not isinstance(said, dict) or not all(isinstance(key, str) for key in said):
        return value
    found = migrations.OPTIONS.renamed({f"{name}.{key}": option for key, option in said.items()}, f"--{name} {value}")
    return _nested(found)[name]


def _config_argument(argv: list[str]) -> tuple[str | None, list[str]]:
    if "--config" not in argv:
        return None, argv
    at = argv.index("--config")
    if at + 1 == len(argv):
        raise UserError(f"--config needs a name; presets: {', '.join(cli.presets())}")
    return argv[at + 1], argv[:at] + argv[at + 2 :]


def _as_of_today(path: Path) -> str:
    """What the parser is given for a file: its path; its content by today's names where these are others.

    Raises:
        UserError: it is of a newer version, and has options that there are none of here.
    """
    try:
        tree = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return str(path)  # what is wrong with it is the parser's to say
    if not isinstance(tree, dict) or not all(isinstance(name, str) for name in tree):
        return str(path)
    said = _flattened(
        {
            name: _group(name, value, path.parent) if name in _GROUPS and isinstance(value, str) else value
            for name, value in tree.items()
        }
    )
    version = said.pop(VERSION, None)
    found = migrations.OPTIONS.renamed(said, str(path))
    if migrations.newer(version):
        migrations.refuse_unknown([key for key in found if key not in flat(Config())], str(path), version)
    first = flat(Config(), free=False).keys() - migrations.OPTIONS.missing.keys()
    if version is not None or first <= found.keys():  # a run's or a search's: it says all that there was to say
        found = migrations.OPTIONS.migrated(said, str(path))
    if version is None and found == said:
        return str(path)
    return yaml.safe_dump(_nested(found), sort_keys=False)


def check(config: Config) -> None:
    """Refuse options outside of their limits, and those that do not go together.

    Raises:
        UserError: naming the option and what it must be.
    """
    check_limits(config)
    division.workers(config, world_size.parse(config.workers))
    division.micro_batch(config, cpu=True)
    if (features := config.evaluate.features) != "auto":
        FEATURES.check(features, f"--evaluate.features {features}")
    for name, unset in (("init_map", "name"), ("init_sha256", ""), ("freeze_d", 0)):
        if not config.init_from and (value := getattr(config, name)) != unset:
            raise UserError(f"--{name} {value}: it is about weights that a run starts from: give --init_from, too")
    objective, optim = config.objective, config.optim
    if objective.lam_schedule != "constant" and objective.lam_samples <= 0:
        raise UserError(f"--objective.lam_samples {objective.lam_samples}: it must be above 0 for a lam_schedule")
    if optim.lr_schedule != "constant" and optim.lr_samples <= 0:
        raise UserError(f"--optim.lr_samples {optim.lr_samples}: it must be above 0 for an lr_schedule")
    if config.augment.transforms and objective.space == "feature" and objective.lam:
        raise UserError(
            "--objective.space feature compares what D sees, and --augment changes that at random: leave one out"
        )
    if config.network.labels and objective.relative and objective.pairing == "assignment":
        raise UserError(
            "--objective.pairing assignment with --objective.relative true cannot take --network.labels true: "
            "choose another pairing, such as cover"
        )


def dumps(config: Config) -> str:
    """The configuration as YAML, which --config takes, with the version that wrote it."""
    return yaml.safe_dump({VERSION: ragdist.__version__, **asdict(config)}, sort_keys=False)


def read(path: Path) -> dict[str, Any]:
    """A saved configuration as {"objective.lam": 1.0, ...}, whichever version wrote it.

    Raises:
        UserError: the file is damaged, or of a newer version.
    """
    try:
        return loads(path.read_text(), str(path))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged: restore it, or give --overwrite to start anew") from error


def loads(text: str, path: str) -> dict[str, Any]:
    """Read a saved configuration from the file's content; ``path`` is for messages."""
    try:
        saved = _flattened(yaml.safe_load(text))
    except (yaml.YAMLError, AttributeError) as error:
        raise UserError(f"{path} is damaged: restore it, or give --overwrite to start anew") from error
    version = saved.pop(VERSION, None)
    return of_today(saved, path, version)


def of_today(saved: Mapping[str, Any], where: str, version: str | None = None) -> dict[str, Any]:
    """Options as a run, a generator or a search of any version wrote them down, by today's names.

    Args:
        saved: by their full names.
        where: the file, for messages.
        version: that wrote them; None: the file does not say.

    Raises:
        UserError: a newer version wrote options that there are none of here, or values that are not offered any more.
    """
    found = migrations.OPTIONS.migrated(saved, where)
    known = flat(Config())
    migrations.refuse_unknown([key for key in found if key not in known], where, version)
    return found


def _flattened(tree: dict[str, Any]) -> dict[str, Any]:
    """{"objective": {"lam": 1.0}, ...} as {"objective.lam": 1.0, ...}."""
    return {
        f"{group}.{key}" if isinstance(content, dict) else group: value
        for group, content in tree.items()
        for key, value in (content.items() if isinstance(content, dict) else [("", content)])
    }


def _nested(options: dict[str, Any]) -> dict[str, Any]:
    """The reverse; numbers as 1e-4, which YAML 1.1 takes for texts, are made such as it takes for numbers."""
    tree: dict[str, Any] = {}
    for name, value in options.items():
        group, _, key = name.rpartition(".")
        if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
            value = float(value)
        (tree.setdefault(group, {}) if group else tree)[key] = value
    return tree


def load_plugins_of(path: Path) -> None:
    """Load the plugins of the run with this configuration, where they are still there, beside those of the command.

    Not those in the run's own folder, or of a relative path: whoever hands over a run could have code executed there.

    Raises:
        UserError: one cannot be loaded.
    """
    try:
        said = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):  # none, or none of ours: what it is beside need not have one
        return
    value = said.get("plugin") if isinstance(said, dict) else None
    if isinstance(value, str):
        files = [Path(file).expanduser() for file in cli.plugin_files(value)]
        own = path.parent.resolve()
        files = [file for file in files if file.is_absolute() and own not in file.resolve().parents]
        plugins.load(str(file) for file in files if file.is_file() and not plugins.is_loaded(str(file)))


def differences(config: Config, saved: dict[str, Any]) -> list[str]:
    """What of the saved configuration, by today's names, a continuation may not change: ``key: old -> new``."""
    mine = flat(config, free=False)
    return [f"{key} {saved.get(key)} -> {value}" for key, value in mine.items() if saved.get(key) != value]
