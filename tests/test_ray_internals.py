"""What is used of Ray beyond its public API is there. Where a test fails on a new Ray, its message says what for."""

import mmap
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="needs Ray")

from cluster.lab import hosts  # noqa: E402
from ragdist.launch.on_ray import cluster  # noqa: E402
from ragdist.launch.on_ray import ray_internals as internals  # noqa: E402
from ragdist.tools.errors import UserError  # noqa: E402

ROOT = Path(__file__).parents[1]
RAY = Path(ray.__file__).parent
OBJECTS = {name: one for name, one in vars(internals).items() if isinstance(one, internals.Internal)}
TEXTS = internals.SETTINGS | internals.TUNE
TEXTS |= {
    getattr(internals, name): internals.Variable("", purpose)
    for name, purpose in {
        "SILENCE": "seconds after which a worker that does not answer is dead",
        "AUTH_MODE": "nobody else uses a run's own cluster",
        "AUTH_TOKEN": "nobody else uses a run's own cluster",
        "JOB_CONFIG": "a trial's workers have the code that the search has",
        "TOO_SLOW": "a slow start is tried again",
        "WORKING_DIRECTORIES": "a relative path is refused in a job",
        "HEAD": "a trial's driver is on the head",
        "NODE_ID": "no worker starts on a node that fails",
    }.items()
}
TEXTS |= {name: internals.Variable("", "the lab notices dead nodes within seconds") for name in hosts.HEALTH_CHECKS}
TEXTS |= {"health_check_failure": internals.Variable("", "why a worker died, in a line")}


@pytest.fixture(scope="module")
def occurs() -> Callable[[str], bool]:
    """Whether a text is anywhere in Ray."""
    parts = ("_private", "_common", "air", "core", "train", "tune", "util", "scripts", "includes", "runtime_env")
    sources = "\n".join(file.read_text() for part in parts for file in (RAY / part).rglob("*.py"))
    binaries = [RAY / "_raylet.so", *(RAY / "core/src/ray").rglob("*")]

    def found(text: str) -> bool:
        pieces = [piece for piece in text.split("/") if piece] if text.startswith("/") else [text]
        return all(piece in sources or any(_holds(file, piece) for file in binaries) for piece in pieces)

    return found


def _holds(binary: Path, text: str) -> bool:
    if not binary.is_file() or not binary.stat().st_size:
        return False
    with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(text.encode()) >= 0


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_are_there(name):
    internal = OBJECTS[name]
    try:
        internal.get()
    except (ImportError, AttributeError) as error:
        pytest.fail(f"Ray {ray.__version__} has no {internal.path} ({error}): it says {internal.purpose}")


@pytest.mark.parametrize("text", TEXTS)
def test_names_and_words_occur_in_ray(text, occurs):
    if TEXTS[text].since > tuple(map(int, ray.__version__.split(".")[:2])):
        pytest.skip(f"Ray {ray.__version__} is before {TEXTS[text].since}")
    assert occurs(text), (
        f"Ray {ray.__version__} does not know {text} any more, which is for this: {TEXTS[text].purpose}"
    )


def test_a_text_that_ray_has_not_is_missed(occurs):
    assert not occurs("RAY_TRAIN_NO_SUCH_" + "SETTING")
    assert not occurs("/runtime_resources/no_such_" + "files/")


def test_what_is_left_out_of_ray_train_is_there_to_leave_out():
    from ray.train.torch import TorchConfig, TorchTrainer

    usual = TorchTrainer(print)._create_default_callbacks()
    lean = internals.without_data(TorchTrainer)(print)._create_default_callbacks()
    names = [[type(one).__name__ for one in callbacks] for callbacks in (usual, lean)]
    assert len(names[0]) == len(names[1]) + 1, names
    assert [name for name in names[0] if name != "DatasetsCallback"] == names[1]
    config = internals.without_goodbye(TorchConfig)(backend="gloo")
    assert issubclass(config.backend_cls, TorchConfig().backend_cls)
    assert config.backend_cls().on_shutdown(None, None) is None


def test_the_versions_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (ours,) = [line for line in project["dependencies"] if line.startswith("ray[")]
    assert ours.endswith(">=" + ".".join(map(str, internals.OLDEST)))
    assert not internals.too_old(ray.__version__)
    assert not internals.untested(ray.__version__), "where all tests pass with it, it is the NEWEST"


def test_an_old_ray_is_refused_and_a_new_one_is_said_once(capsys):
    newest = f"{internals.NEWEST[0]}.{internals.NEWEST[1]}.9"
    cluster._check_version(newest)
    assert not capsys.readouterr().out
    with pytest.raises(UserError, match=r"Ray 2\.9\.3 is too old: .* pip install"):
        cluster._check_version("2.9.3")
    for _ in range(2):
        cluster._check_version("99.0.0rc1")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Ray 99.0.0rc1 is newer than")


def test_no_other_file_names_them():
    inside = re.compile(
        r"\bray\.(_(?!_)|\w+\._(?!_)|train\.v2|tune\.execution)|[\"'](RAY|TUNE)_(?!ADDRESS\b)[A-Z_]+[\"']"
    )
    assert inside.search("from ray._private.state import state")
    assert inside.search('os.environ["RAY_CHDIR_TO_TRIAL_DIR"]')
    files = [file for folder in ("ragdist", "tune") for file in (ROOT / folder).rglob("*.py")]
    named = {str(file.relative_to(ROOT)) for file in files if inside.search(file.read_text())}
    assert named == {"ragdist/launch/on_ray/ray_internals.py"}
