"""Several ranks of a gloo group in processes of this machine, without Ray."""

import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ragdist.distributed.world import World
from tests.fork_server import Command, fork_server
from tests.servers import free_port

ROOT = Path(__file__).parents[1]
HANGS = 500  # seconds after which ranks are not slow any more


def on_ranks(size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """``work(world, *arguments)`` on each of ``size`` ranks; what each returned, in their order.

    ``work`` is a function of a module: it is run in other processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "work").write_bytes(pickle.dumps((work, arguments)))
        address = f"tcp://127.0.0.1:{free_port()}"
        server = fork_server("tests.imported_by_ranks")
        ranks = [
            server.start(["tests.ranks", folder, str(rank), str(size), address], ROOT, dict(os.environ))
            for rank in range(size)
        ]
        try:
            _wait(ranks)
        finally:
            for rank in ranks:
                rank.kill()
            said = [rank.communicate() for rank in ranks]
        wrong = [f"rank {i}, code {rank.returncode}: {''.join(said[i])}" for i, rank in enumerate(ranks) if rank.poll()]
        assert not wrong, "\n".join(wrong)
        return [pickle.loads(Path(folder, f"found{rank}").read_bytes()) for rank in range(size)]


def _wait(ranks: list[Command]) -> None:
    """Until all have ended, or some time after one has failed: the others may wait for it for ever."""
    end = time.monotonic() + HANGS
    while any(rank.poll() is None for rank in ranks) and time.monotonic() < end:
        if any(rank.poll() for rank in ranks):
            end = min(end, time.monotonic() + 10)
        time.sleep(0.01)


def main(folder: str, rank: str, size: str, address: str) -> None:
    """One rank's process."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", address, rank=int(rank), world_size=int(size))
    work, arguments = pickle.loads(Path(folder, "work").read_bytes())
    found = work(World(int(rank), int(size), torch.device("cpu")), *arguments)
    dist.barrier()
    dist.destroy_process_group()
    Path(folder, f"found{rank}").write_bytes(pickle.dumps(found))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # to take down what was imported takes longer than most work


if __name__ == "__main__":
    main(*sys.argv[1:])
