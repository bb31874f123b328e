"""Options of modalities beside those of a command: names that are taken, kinds that cannot join, --help."""

# ruff: noqa: F811 - arguments that are the names of fixtures of another file

import json
from pathlib import Path

from ragdist.data import index as index_file
from ragdist.data.index import Index
from tests.conftest import command, each_refused, refused
from tests.test_modality import PLUGIN, SHARDS, D, N, place, said, vectors  # noqa: F401 - its fixtures, too


def test_options_of_other_samples_are_refused(place, tmp_path):
    result = command(SHARDS, place / "vectors.npy", "data", PLUGIN, "--size=8", cwd=tmp_path)
    assert "--size: " in (line := refused(result))
    assert "holds vectors, and it is for images" in line


TWIN = """
from dataclasses import dataclass
from ragdist.config.option import option
from ragdist.modalities import MODALITIES
from ragdist_plugins.vectors import Making, VectorOptions, Vectors

@dataclass
class Options:
    scale: float = option(0.0, at_least=0)
    \'\'\'of others\'\'\'
    seed: int = 0
    more: int = 0

@dataclass
class IndexOptions:
    label: int = 0

class Other(Making):
    units, options, index_options = "others", Options, IndexOptions

    def encode(self, item, options):
        found = super().encode(item, VectorOptions(scale=options.scale))
        assert options.seed == 3, options
        return found

    def describe(self, payload, options):
        assert options == IndexOptions(4), options
        return super().describe(payload, options)

class Others(Vectors):
    making = Other()

MODALITIES.add("oth-er", Others)
"""


def test_an_option_whose_name_is_taken_has_its_modality_before_it(place, tmp_path):
    """Two modalities with the same options and files, and one option that the command has, too."""
    (tmp_path / "other.py").write_text(TWIN)
    both = f"{PLUGIN},other.py"
    said_of = " ".join(said(command(SHARDS, "--help", both, cwd=tmp_path)).split())
    assert "--scale SCALE of vectors" in said_of, "it is marked as one that is used often"
    assert "--oth_er.seed" not in said_of
    said_of = " ".join(said(command(SHARDS, "--help", "all", both, cwd=tmp_path)).split())
    assert "--scale SCALE of vectors" in said_of
    assert "--oth_er.scale SCALE for others (--scale is for vectors): of others (default: 0.0)" in said_of
    assert "--oth_er.seed SEED for others (--seed is the command's own) (default: 0)" in said_of
    assert "--more MORE" in said_of
    vectors, others, files = "--modality=vectors", "--modality=oth-er", place / "files"
    which = "may hold vectors or others: say which with --modality vectors or --modality oth-er"
    mistakes = {
        (files,): which,
        (place / "vectors.npy",): which,
        (files, others, "--scale=2"): "holds others, and it is for vectors; give --oth_er.scale",
        (files, vectors, "--oth_er.scale=2"): "holds vectors, and it is for others; give --scale",
        (files, vectors, "--more=1"): "holds vectors, and it is for others; leave it out",
        (files, others, "--oth_er.scale=-1"): "--oth_er.scale -1.0: it must be 0 or more",
        (files, others, "--oth_er.scale=x"): "--oth_er.scale: 'x' is not a number",
    }
    lines = each_refused(tmp_path, *([SHARDS, source, "data", both, *more] for source, *more in mistakes))
    for line, says in zip(lines, mistakes.values(), strict=True):
        assert says in line
    own = [others, "--oth_er.scale=3", "--oth_er.seed=3", "--seed=1", "--more=1"]
    assert "samples [5]" in said(command(SHARDS, place / "files", "data", both, *own, cwd=tmp_path))
    index = index_of(tmp_path / "data")
    assert index.spec["scale"] == 3
    assert index_file.load_table(tmp_path / "data", index.shards[0]).size == N
    said(command(SHARDS, place / "files", "mine", both, vectors, "--scale=2.5", "--shard_samples=300", cwd=tmp_path))
    assert index_of(tmp_path / "mine").spec["scale"] == 2.5
    indexed = [SHARDS, "index", "mine", "--out=indexed", both, "--label=", "--oth_er.label=4"]
    said(command(*indexed, others, "--processes=2", cwd=tmp_path))
    assert index_of(tmp_path / "indexed").codec == "oth-er"
    line = refused(command(*indexed, vectors, "--overwrite", cwd=tmp_path))
    assert line.endswith("holds vectors, and it is for others; leave it out")


NESTED = """
from dataclasses import dataclass, field
from ragdist.modalities import MODALITIES
from ragdist_plugins.vectors import Making, Vectors

@dataclass
class Inner:
    x: int = 0

@dataclass
class Nested:
    inner: Inner = field(default_factory=Inner)

@dataclass
class Bare:
    x: int

NONE = {"suffixes": frozenset((".none",)), "payload": ("none",), "check_array": lambda self, *_: "holds none"}

def add(name, kind):
    making = type(name, (Making,), {"units": name, **NONE, "options": kind, "index_options": kind})()
    MODALITIES.add(name, type(name, (Vectors,), {"making": making}))

add("nested", Nested)
add("bare", Bare)
"""


def test_a_modality_whose_options_cannot_join_is_left_out_and_refused_where_it_is_asked_for(place, tmp_path):
    (tmp_path / "nested.py").write_text(NESTED)
    both, files = f"{PLUGIN},nested.py", place / "files"
    left_out = [
        "warning: the modality 'nested' of a plugin cannot be used (TypeError: its option inner holds options: give them "
        "one by one), and is left out",
        "warning: the modality 'bare' of a plugin cannot be used (TypeError: its option x has no default), and is left out",
    ]
    index = [SHARDS, "index", "data", "--out=indexed", both]
    for words in ([SHARDS, files, "data", both], index, [SHARDS, "--help", both]):
        result = command(*words, cwd=tmp_path)
        assert (result.returncode, result.stderr.splitlines()) == (0, left_out)
    (tmp_path / "nones").mkdir()
    (tmp_path / "nones/0.none").touch()
    lines = each_refused(
        tmp_path,
        [SHARDS, "nones", "no", both, "--modality=nested"],
        [*index, "--overwrite", "--modality=bare"],
    )
    for line, warning in zip(lines, left_out, strict=True):
        assert line == warning.removesuffix(", and is left out").replace("warning", "error")


def test_an_index_option_that_is_used_often_hides_none_of_the_commands_own(tmp_path):
    (tmp_path / "often.py").write_text(TWIN.replace("label: int = 0", "loud: int = option(0, common=True)"))
    shown = said(command(SHARDS, "index", "--help", f"{PLUGIN},often.py", cwd=tmp_path))
    assert {"--payload PAYLOAD", "--loud LOUD"} <= {" ".join(line.split()[:2]) for line in shown.splitlines()}


def index_of(folder: Path) -> Index:
    """The index of a modality that is not in this process."""
    content = json.loads((folder / "index.json").read_text())
    return Index(**{key: content[key] for key in ("codec", "classes", "spec")}, shape=(D,),
                 shards=tuple(index_file.Shard(**shard) for shard in content["shards"]))  # fmt: skip
