"""``ragdist.evaluate --workers``: the figures of one process, and no process that outlives what it was for."""

import json
import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest
import torch

from ragdist.distributed import local_workers
from ragdist.distributed.world import World, full_precision, pick_device
from ragdist.tools.errors import UserError
from tests.conftest import TINY, begin, command, refused
from tests.fork_server import WARM, Command

pytestmark = pytest.mark.usefixtures("warm_processes")
LONG = ["--samples=1_000_000_000", "--metrics=frechet"]  # hours
HANGS = 240  # seconds after which nothing is slow any more


@pytest.fixture(scope="module")
def place(tmp_path_factory, digits) -> Path:
    """A folder with a tiny run."""
    cwd = tmp_path_factory.mktemp("workers")
    options = [f"--data={digits}", "--out=run", "--samples=320"]
    result = command("ragdist.train", *TINY, *options, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return cwd


def options(*more: str) -> list[str]:
    return ["run", "--features=pixels", "--device=cpu", "--cache=cache", *more]


def figures(out: Path) -> dict[str, float]:
    content = json.loads((out / "evaluation.json").read_text())
    return {name: figure["value"] for name, figure in content["figures"].items()}


def test_the_figures_are_those_of_one_process(place):
    found = {}
    for workers in (1, 2):
        more = [f"--workers={workers}", f"--out=of{workers}", f"--cache=cache{workers}", "--samples=700"]
        result = command("ragdist.evaluate", *options(*more), cwd=place)
        assert result.returncode == 0, result.stderr
        assert "report: " in result.stdout
        found[workers] = figures(place / f"of{workers}")
    assert len(found[1]) > 12
    assert found[2] == pytest.approx(found[1], rel=1e-6, abs=1e-9)


def begun(place: Path, size: int, *, until: str) -> tuple[Command, list[psutil.Process]]:
    """A command that takes long, and its other workers: started, connected with each other, or making samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAGDIST_TEST_COLD", "1")  # signals and ends are to be those of the workers themselves
        running = begin("ragdist.evaluate", *options(*LONG, f"--workers={size}"), cwd=place)
    end, met = time.monotonic() + HANGS, {}
    while time.monotonic() < end:
        assert running.poll() is None, running.communicate()
        workers = [child for child in psutil.Process(running.pid).children() if _is_worker(child)]
        for worker in workers:
            if worker.pid not in met and worker.net_connections():
                met[worker.pid] = sum(worker.cpu_times()[:2])
        # Once they have met they embed some hundred digits each, which takes a fraction of a second.
        is_so = {
            "started": True,
            "met": len(met) == size - 1,
            "sampling": len(met) == size - 1 and all(sum(w.cpu_times()[:2]) > met[w.pid] + 2 for w in workers),
        }
        if len(workers) == size - 1 and is_so[until]:
            return running, workers
        time.sleep(0.05)
    raise AssertionError(f"the workers have not {until}")


def _is_worker(child: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(child.cmdline())
    except psutil.Error:  # others come and go
        return False


@pytest.mark.parametrize(("size", "until"), [(2, "started"), (2, "met"), (3, "sampling")])
def test_a_killed_worker_is_named(place, size, until):
    """Soon: no other waits for it while it makes its share of the samples, which takes hours here."""
    running, workers = begun(place, size, until=until)
    workers[-1].kill()
    _, said = running.communicate(HANGS)
    assert running.returncode == 2
    (line,) = [line for line in said.splitlines() if "gloo/transport" not in line]  # which tells of a lost connection
    assert line.startswith(f"error: worker {size - 1} of {size} was killed (SIGKILL)")
    assert not psutil.wait_procs(workers, timeout=HANGS)[1]


@pytest.mark.parametrize(("size", "until"), [(3, "started"), (2, "met")])
def test_ctrl_c_ends_all_in_one_word(place, size, until):
    running, workers = begun(place, size, until=until)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(HANGS)
    assert (running.returncode, said) == (130, "interrupted\n")
    assert not psutil.wait_procs(workers, timeout=HANGS)[1]


def test_ctrl_c_while_a_worker_starts_is_heard(monkeypatch):
    others = local_workers._Others()
    start = others.context.Process.start

    def interrupted(process) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        start(process)

    monkeypatch.setattr(others.context.Process, "start", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            others.start(1, 2, 0, "cpu", 1, (), b"")
    finally:
        signal.signal(signal.SIGINT, before)
        (process,) = others.processes
        status = Path(f"/proc/{process.pid}/status")
        blocked = re.search(r"^SigBlk:\t(\w+)$", status.read_text(), re.MULTILINE)[1] if WARM else "2"
        others.kill()
    assert int(blocked, 16) >> (signal.SIGINT - 1) & 1, "the worker does not hear it before it can ignore it"


def test_no_worker_outlives_the_command(place):
    running, workers = begun(place, 2, until="sampling")
    running.kill()
    assert not psutil.wait_procs(workers, timeout=HANGS)[1]


def test_mistakes_of_several_are_one_line(place):
    assert "3 samples are too few" in refused(
        command("ragdist.evaluate", *options("--samples=3", "--workers=2"), cwd=place)
    )


def fail(world: World, rank: int, kind: str) -> int:
    """One worker's part of something that goes wrong on one of them."""
    if world.rank == rank:
        if kind == "mistake":
            raise UserError("there is no such thing: choose another")
        if kind == "bug":
            raise AssertionError("what must not be")
        os.kill(os.getpid(), signal.SIGSEGV)
    return int(world.total(torch.ones(1)))


def test_work_is_done_together():
    assert local_workers.share(3, "cpu", fail, 9, "") == 3
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("kind", "error", "says"),
    [
        ("mistake", UserError, "^there is no such thing: choose another$"),
        ("bug", RuntimeError, "worker 1 of 2 failed:(.|\n)*what must not be"),
        ("crash", UserError, "^worker 1 of 2 was ended by SIGSEGV$"),
    ],
)
def test_the_first_failure_is_told(kind, error, says):
    """A mistake as one line, a bug with the traceback of where it was."""
    with pytest.raises(error, match=says):
        local_workers.share(2, "cpu", fail, 1, kind)


class Machine:
    """One with GPUs, as far as choosing them goes; PyTorch's own functions judge the devices that are chosen."""

    def __init__(self, monkeypatch, gpus: int):
        self.current = 0
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: self.current)
        monkeypatch.setattr(torch.cuda, "set_device", self._set)
        monkeypatch.setattr(torch, "zeros", lambda *shape, device: None)

    def _set(self, device) -> None:
        self.current = torch.cuda._utils._get_device_index(device)


def test_a_gpu_without_a_number_is_the_current_one(monkeypatch):
    machine = Machine(monkeypatch, 2)
    assert [pick_device(name) for name in ("cuda:1", "auto", "cuda")] == [torch.device("cuda:1")] * 3
    assert machine.current == 1


@pytest.mark.parametrize(
    ("device", "says"),
    [("auto", "--workers 3: the GPUs of this machine are 2"), ("cuda:1", "--device cuda:1 is one GPU")],
)
def test_gpus_are_given_out_and_never_shared(monkeypatch, device, says):
    Machine(monkeypatch, 2)
    with pytest.raises(UserError, match=says):
        local_workers.share(3, device, fail, 9, "")


def test_a_gpu_is_told_what_to_compute_with(monkeypatch):
    Machine(monkeypatch, 1)
    flags = torch.backends.cudnn
    monkeypatch.setattr(flags, "benchmark", False)
    monkeypatch.setattr(flags, "allow_tf32", True)
    debug = torch.get_deterministic_debug_mode()
    try:
        pick_device("cuda", deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
        assert (flags.benchmark, flags.allow_tf32) == (False, False)
        pick_device("cuda", tf32=True)
        assert (flags.benchmark, flags.allow_tf32) == (True, True)
        with full_precision():
            assert not flags.allow_tf32
        assert flags.allow_tf32
    finally:
        torch.set_deterministic_debug_mode(debug)
        torch.utils.deterministic.fill_uninitialized_memory = True


def out_of_memory(world: World, rank: int) -> None:
    if world.rank == rank:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore of it.")
    world.gather("there")


@pytest.mark.parametrize(("size", "rank"), [(1, 0), (2, 1)])
def test_too_little_memory_is_one_line(size, rank):
    with pytest.raises(UserError, match=r"^the memory of cpu ran out: try a smaller --batch$"):
        local_workers.share(size, "cpu", out_of_memory, rank)
