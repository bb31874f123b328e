"""Tables of choices by name: what listing them costs, whose names they are, and that each row is there."""

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragdist import metrics, modalities, networks, objective
from ragdist.config import Config, helptext
from ragdist.config.option import check_limits
from ragdist.metrics.extractor import Features
from ragdist.metrics.measure import Measure
from ragdist.networks.base import Discriminator, Generator
from ragdist.tools.errors import UserError
from ragdist.tools.table import Table, imported
from tests.conftest import command

TABLES = {
    "networks.FAMILIES": networks.FAMILIES,
    "networks.HEADS": networks.HEADS,
    "objective.ADVERSARIAL": objective.ADVERSARIAL,
    "objective.PAIRINGS": objective.PAIRINGS,
    "metrics.FEATURES": metrics.FEATURES,
    "metrics.MEASURES": metrics.MEASURES,
    "modalities.MODALITIES": modalities.MODALITIES,
}
names = st.text("abcde", min_size=1, max_size=3)
number = itertools.count()


@pytest.fixture
def colours(tmp_path, monkeypatch) -> Table:
    """A table of rows in modules that no other test has imported."""
    module = f"colours_{next(number)}"
    (tmp_path / f"{module}.py").write_text("class Dark:\n    red = '#800000'\nGREEN = object()\n")
    monkeypatch.syspath_prepend(tmp_path)
    rows = {"red": f"{module}:Dark.red", "green": f"{module}:GREEN", "all": module, "none": f"{module}_none"}
    return Table(f"test.{module}", "colour", rows)


def test_listing_names_imports_none_of_them(colours):
    module = colours._rows["all"]
    assert (list(colours), len(colours)) == (["red", "green", "all", "none"], 4)
    assert "red" in colours
    colours.check("none", "--colour none")
    assert module not in sys.modules
    assert colours["red"] == "#800000"
    assert colours["all"] is sys.modules[module]
    assert colours["green"] is colours["green"] is sys.modules[module].GREEN
    with pytest.raises(ModuleNotFoundError):
        colours["none"]


def test_listing_the_projects_choices_imports_nothing_that_takes_long(tmp_path):
    code = (
        "import sys\n"
        "from ragdist.config import Config, settings\n"
        "from ragdist import metrics, modalities, networks, objective\n"
        f"tables = [{', '.join(TABLES)}]\n"
        "assert all(len(list(table)) >= len(table.own) > 0 for table in tables)\n"
        "assert not any(table._found for table in tables)\n"
        "print(*{'torch', 'numpy', 'PIL', 'scipy', 'simplejpeg'} & sys.modules.keys())\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stdout.strip()) == (0, ""), result.stderr


def test_a_name_that_is_missing_is_a_key_error_and_a_mistake_that_names_the_nearest(colours):
    assert "rad" not in colours
    assert colours.get("rad") is None
    with pytest.raises(KeyError):
        colours["rad"]
    with pytest.raises(UserError, match=r"^--colour rad: there is no colour 'rad'.*; did you mean 'red'\?$"):
        colours.check("rad", "--colour rad")
    with pytest.raises(UserError, match=r"; there are: red, green, all, none$"):
        colours.check("quartz", "--colour quartz")
    colours.add("quartz", object())
    colours.check("quartz", "--colour quartz")


def test_rows_that_are_added_come_last(colours):
    blue = object()
    colours.add("blue", blue)
    colours.add("dark", colours._rows["red"])
    assert list(colours) == [*colours.own, "blue", "dark"]
    assert (colours["blue"], colours["dark"], colours.provenance("blue")) == (blue, "#800000", "")


@settings(max_examples=30)
@given(st.lists(names, unique=True), st.lists(names))
def test_a_name_is_given_once(own, more):
    table = Table("test.no_such_group", "thing", dict.fromkeys(own, "math"))
    there = list(own)
    for place, name in enumerate(more):
        if name in there:
            before = table[name]
            with pytest.raises(UserError, match=f"there is a thing '{name}' already"):
                table.add(name, place)
            assert table[name] is before
        else:
            table.add(name, place)
            there.append(name)
            assert table[name] == place
    assert (list(table), len(table), list(table.own)) == (there, len(there), own)


@pytest.fixture
def installed(colours, tmp_path, monkeypatch) -> Iterator[Table]:
    """The table beside an installed package that has colours, too."""
    place = tmp_path / "paints"
    (place / "paints-1.2.dist-info").mkdir(parents=True)
    (place / "paints-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: paints\nVersion: 1.2\n")
    module = f"paints_{next(number)}"
    (place / "paints-1.2.dist-info" / "entry_points.txt").write_text(
        f"[{colours.group}]\nochre = {module}:OCHRE\nred = {module}:RED\nwet = {module}_wet:WET\ngone = {module}:GONE\n"
    )
    (place / f"{module}.py").write_text("OCHRE, RED = 'ochre', 'theirs'\n")
    (place / f"{module}_wet.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(place)
    yield colours
    sys.modules.pop(module, None)


def test_a_packages_rows_are_found_by_its_entry_points_and_ours_stay_ours(installed):
    assert sorted(set(installed) - set(installed.own)) == ["gone", "ochre", "wet"]
    assert len(installed) == 7
    assert installed["ochre"] == "ochre"
    assert installed.provenance("ochre") == "paints 1.2"
    assert (installed["red"], installed.provenance("red")) == ("#800000", "")


@pytest.mark.parametrize(("name", "says"), [("wet", "ZeroDivisionError"), ("gone", "AttributeError")])
def test_a_package_that_cannot_be_imported_is_one_line_that_names_it(installed, name, says):
    installed.check(name, f"--colour {name}")
    line = rf"^the colour '{name}' of the package paints 1.2 cannot be imported \({says}: .*\)$"
    with pytest.raises(UserError, match=line):
        installed[name]


def test_who_asks_for_all_gets_those_that_work_and_a_line_for_each_other(installed, capsys):
    installed.add("dull", "no_such_module:DULL")
    with pytest.raises(ModuleNotFoundError, match="colours_"):  # the project's own row
        installed.working()
    for _ in range(2):
        found = installed.working(lambda name: None if name == "none" else installed[name])
        assert ({*found}, found["ochre"]) == ({*installed.own, "ochre"}, "ochre")
    lines = sorted(capsys.readouterr().err.splitlines())
    for line, name, whose, what in zip(
        lines,
        ("dull", "gone", "wet"),
        ("a plugin", "the package paints 1.2", "the package paints 1.2"),
        ("ModuleNotFoundError: No module named 'no_such_module'", "AttributeError: .*", "ZeroDivisionError: .*"),
        strict=True,
    ):
        whole = rf"warning: the colour '{name}' of {whose} cannot be imported \({what}\), and is left out"
        assert re.fullmatch(whole, line)
    with pytest.raises(UserError, match=r"'wet' of the package paints 1\.2"):
        installed["wet"]


@pytest.mark.parametrize("place", ["math", "math:pi", "pathlib:Path.home"])
def test_places_are_modules_or_attributes_of_some(place):
    import math

    assert imported(place) == {"math": math, "math:pi": math.pi, "pathlib:Path.home": Path.home}[place]


# The project's own.

FACES = {
    "networks.FAMILIES": lambda row: issubclass(row[0], Generator) and issubclass(row[1], Discriminator),
    "networks.HEADS": callable,
    "objective.ADVERSARIAL": lambda row: callable(row.d_loss) and callable(row.g_loss),
    "objective.PAIRINGS": callable,
    "metrics.FEATURES": lambda row: isinstance(row, Features),
    "metrics.MEASURES": lambda row: isinstance(row, Measure),
    "modalities.MODALITIES": lambda row: hasattr(row, "__path__"),
}


@pytest.mark.parametrize(("table", "name"), [(table, name) for table in TABLES for name in TABLES[table].own])
def test_each_row_is_what_its_table_holds(table, name):
    assert FACES[table](TABLES[table][name])


def test_no_group_of_entry_points_is_that_of_two_tables():
    groups = [table.group for table in TABLES.values()]
    assert len(set(groups)) == len(groups)
    assert all(group.startswith("ragdist.") for group in groups)


def test_an_option_that_is_a_choice_takes_names_of_its_table_alone():
    tables = helptext.tables(Config)
    assert {name: table.group for name, table in tables.items()} == {
        "network.family": "ragdist.networks",
        "objective.adversarial": "ragdist.losses",
        "objective.pairing": "ragdist.pairings",
    }
    for option, table in tables.items():
        group, _, name = option.partition(".")
        for choice in table.own:
            config = Config()
            setattr(getattr(config, group), name, choice)
            check_limits(config)
        setattr(getattr(config, group), name, "nonesuch")
        with pytest.raises(UserError, match=f"^--{option} nonesuch: there is no {table.what} 'nonesuch'"):
            check_limits(config)


@pytest.mark.parametrize(
    ("module", "tables"),
    [
        ("ragdist.train", ["networks.FAMILIES", "objective.ADVERSARIAL", "objective.PAIRINGS"]),
        ("ragdist.evaluate", ["metrics.FEATURES", "metrics.MEASURES"]),
        ("ragdist.shards", ["modalities.MODALITIES"]),
    ],
)
def test_help_names_each_choice(module, tables, tmp_path):
    words = command(module, "--help", "all", cwd=tmp_path).stdout.replace("{", " ").replace(",", " ").split()
    words = {word.strip(":;.()[]}'") for word in words}
    assert not [name for table in tables for name in TABLES[table].own if name not in words]


@pytest.mark.parametrize("name", modalities.MODALITIES.own)
def test_what_a_modality_names_is_in_the_tables(name):
    training, judging = modalities.training(name), modalities.judging(name)
    assert training.head in networks.HEADS
    assert set(training.families) <= set(networks.FAMILIES)
    assert set(judging.features) <= set(metrics.FEATURES)
    assert {judging.labelled_features, judging.classifier} <= {"", *judging.features}
    assert set(judging.measures) <= set(metrics.MEASURES)
