"""Several ranks of a gloo group in processes of this machine, without Ray."""

import socket
import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing

from ragdist.world import World


def on_ranks(size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """``work(world, *arguments)`` on each of ``size`` ranks; what each returned, in their order.

    ``work`` is a function of a module: it is started in new processes.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.imported"])  # once, not in each rank
    queue = context.Queue()
    workers = [
        context.Process(target=_rank, args=(rank, size, port, queue, work, arguments), daemon=False)
        for rank in range(size)
    ]
    for worker in workers:
        worker.start()
    try:
        found = dict(queue.get(timeout=240) for _ in workers)
    finally:
        for worker in workers:
            worker.join(10)
            worker.kill()
    wrong = [f"rank {rank}: {text}" for rank, (text, _) in sorted(found.items()) if text]
    assert not wrong, "\n".join(wrong)
    return [value for _, (_, value) in sorted(found.items())]


def _rank(rank: int, size: int, port: int, queue, work, arguments) -> None:
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
        value = work(World(rank, size, torch.device("cpu")), *arguments)
        dist.barrier()
        dist.destroy_process_group()
        queue.put((rank, ("", value)))
    except BaseException:
        queue.put((rank, (traceback.format_exc(), None)))
