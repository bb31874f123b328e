"""What several tests need: tiny data sets, a real run in a real process."""

import io
import json
import multiprocessing.spawn
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from PIL import Image

from ragdist import metrics, modalities, networks, objective
from ragdist.config.shards import ShardOptions
from ragdist.data.writing.writer import write_shards
from ragdist.tools import plugins
from ragdist.tools.errors import UserError
from tests.fork_server import Command, fork_server
from tests.servers import s3_server

GPUS = os.environ.get("CUDA_VISIBLE_DEVICES")  # for tests/gpu
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # several workers of one machine would share its GPU; figures are the CPU's
# Tests run side by side, on all cores: threads that wait for each other would take each other's time. Where it matters
# how many there are a test says so. Here and not by PyTorch's function: commands and their processes are to know it, too.
os.environ["OMP_NUM_THREADS"] = "1"
hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one is not a wrong one
hypothesis.settings.load_profile("any machine")

# A network that makes an update take milliseconds, read by the run itself, with a picture at both ends; tests of what
# surrounds it need no more. Those of loader processes, of pictures and of TensorBoard ask for them.
TINY = [
    "--network.family=mlp",
    "--network.g_width=32",
    "--network.d_width=32",
    "--network.depth=2",
    "--network.z_dim=8",
    "--batch_size=32",
    "--objective.group=8",
    "--data.loader_workers=0",
    "--monitor.grid_every=1000000",
    "--monitor.tensorboard=false",
]


# Longest first: processes take one file after the other, and the last to end should be short ones.
LONGEST = (
    "test_cluster",
    "test_cluster_of_changing_size",
    "test_lab",
    "test_search",
    "test_ray_start",
    "test_run",
    "test_remote",
    "test_elsewhere",
    "test_compile",
    "test_world",
    "test_runurl",
    "test_writer",
    "test_processes",
    "test_cli",
    "test_inrun",
    "test_digits",
    "test_lease",
    "test_evaluate",
    "test_modality",
    "test_plugins",
    "test_bad_samples",
    "test_golden",
    "test_shards",
    "test_object_store",
    "test_foreign",
    "test_generate",
    "test_metrics_features",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzzers", "tests/fuzz")
    group.addoption(
        "--fuzz", type=float, default=0, metavar="SECONDS", help="for each fuzzer; 0: a fixed number of rounds"
    )
    group.addoption("--fuzz_from", type=int, default=0, metavar="ROUND", help="begin each fuzzer with this round")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))  # within a file and beyond these as they were


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with CIFAR-10, or a skip."""
    path = os.environ.get("RAGDIST_TEST_DATA")
    if not path or not (Path(path) / "cifar10-train.tar.gz").is_file():
        pytest.skip("RAGDIST_TEST_DATA names no folder with cifar10-train.tar.gz")
    return Path(path)


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Path:
    """The 8x8 digits as three shards."""
    out = tmp_path_factory.mktemp("data") / "digits"
    write_shards("digits", out, ShardOptions(shard_samples=700))
    return out


@pytest.fixture(scope="module")
def warm_processes() -> Iterator[None]:
    """What `multiprocessing` starts in this process is forked from its fork server, as with commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing.spawn, "_python_exe", os.fsencode(fork_server().interpreter()))
        yield


@pytest.fixture(scope="session")
def s3_service() -> Iterator[dict[str, str]]:
    """An S3 server of this session; the environment that leads clients to it."""
    with s3_server() as environment:
        yield environment


@pytest.fixture
def s3(s3_service, monkeypatch) -> dict[str, str]:
    """The session's S3 server, which this process and its commands are led to; the environment that does."""
    for name, value in s3_service.items():
        monkeypatch.setenv(name, value)
    return s3_service


def picture(seed: int, size=(8, 8), mode: str = "RGB") -> Image.Image:
    """A picture of smoothed noise, another for each seed."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def refused_here(main: Callable[[list[str]], Any], *arguments: str | Path) -> str:
    """The line of a user's mistake that a command's ``main`` raises in this process, for many that cost a start each."""
    with pytest.raises(UserError) as error:
        main([*map(str, arguments)])
    assert "\n" not in str(error.value)
    return str(error.value)


EACH = """
import json, sys
from importlib import import_module
from ragdist.tools.errors import UserError

for module, *argv in json.loads(sys.argv[1]) if __name__ == "__main__" else ():  # and not for its own processes
    try:
        import_module(module).main(argv)
        sys.exit(f"{module} was not refused")
    except UserError as error:
        print("error:", json.dumps(str(error)))
"""


def each_refused(cwd: Path, *commands: list[str | Path]) -> list[str]:
    """The line of the user's mistake in each of several commands, [module, argument, ...], in one process of their own."""
    (cwd / "each_command.py").write_text(EACH)
    result = command("each_command", json.dumps([[*map(str, words)] for words in commands]), cwd=cwd)
    assert result.returncode == 0, result.stdout + result.stderr
    said = [line.removeprefix("error: ") for line in result.stdout.splitlines() if line.startswith("error: ")]
    assert len(said) == len(commands), result.stdout
    lines = [f"error: {json.loads(line)}" for line in said]
    assert not [line for line in lines if "\n" in line]
    return lines


@contextmanager
def plugins_of_a_test() -> Iterator[None]:
    """A context in which plugins may be loaded, and rows added to tables, in this process: then they are gone."""
    tables = networks.FAMILIES, networks.HEADS, objective.ADVERSARIAL, objective.PAIRINGS
    with pytest.MonkeyPatch.context() as patch:
        for table in (*tables, metrics.FEATURES, metrics.MEASURES, modalities.MODALITIES):
            for name in ("_rows", "_found", "_plugins", "_left_out"):
                patch.setattr(table, name, dict(getattr(table, name)))
        patch.setattr(plugins, "_loaded", dict(plugins._loaded))
        yield


@pytest.fixture
def class_folders(tmp_path) -> Path:
    """Six pictures of 8x8 in two class folders, JPEG and PNG."""
    root = tmp_path / "pictures"
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(3):
            kind = ("png", "jpeg")[i % 2]
            (root / name / f"{i}.{'jpg' if kind == 'jpeg' else kind}").write_bytes(
                encoded(picture(10 * label + i), kind)
            )
    return root


def make_tar(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        tar.add(folder, "some/where")
    return path


def command(
    module: str, *arguments: str, cwd: Path, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess:
    """Run ``python -m module`` as a user does, and wait for it."""
    argv, whole = [module, *map(str, arguments)], os.environ | environment
    misfits = fork_server().misfits(whole)
    if not misfits:
        return fork_server().run(argv, cwd, whole, timeout)
    assert set(misfits) <= set(environment), f"every command would start slowly: {misfits}"
    argv = [sys.executable, "-m", *argv]
    return subprocess.run(argv, cwd=cwd, env=whole, capture_output=True, text=True, timeout=timeout)


def begin(module: str, *arguments: str, cwd: Path) -> Command:
    """Begin ``python -m module`` as on a terminal of its own."""
    argv = [module, *map(str, arguments)]
    assert not fork_server().misfits(dict(os.environ))
    return fork_server().start(argv, cwd, dict(os.environ), session=True)


def refused(result: subprocess.CompletedProcess) -> str:
    """The one line that a user's mistake gets, after checking that it is one line and the exit code 2."""
    assert result.returncode == 2, (result.returncode, result.stdout, result.stderr)
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert "Traceback" not in result.stderr + result.stdout
    return lines[0]
