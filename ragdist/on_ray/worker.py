"""What a Ray Train worker runs: one rank's share of a run."""

import os
import socket
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist

from ragdist import compiling
from ragdist.config import Config
from ragdist.data import index as index_file
from ragdist.data.index import Index
from ragdist.errors import Unreachable, UserError
from ragdist.files import explain
from ragdist.memory import keep_freed_memory
from ragdist.monitor import Monitor
from ragdist.on_ray import waits
from ragdist.on_ray.line import SILENCE, Line
from ragdist.runplace import place_of
from ragdist.session import finish, introduction, notes
from ragdist.trainer import Trainer
from ragdist.world import World, pick_device

_FILES = timedelta(hours=6)  # that a worker may take to read or write a file while the others wait


@dataclass
class Task:
    """What the driver sends to every worker."""

    config: Config
    desk: Any  # the actor
    attempt: int
    token: str  # of the run's claim
    threads: int  # that a worker computes with, on the CPU
    gpu: bool
    say_introduction: bool


def work(task: Task) -> None:
    """One rank, from start to end of an attempt."""
    context = ray.train.get_context()
    rank = context.get_world_rank()
    about = {
        "node": ray.get_runtime_context().get_node_id(),
        "address": ray.util.get_node_ip_address(),
        "host": socket.gethostname(),
        "process": os.getpid(),
    }
    ray.get(task.desk.join.remote(task.attempt, rank, about))
    silence = min(SILENCE, 2 * task.config.collective_timeout)
    line = Line(task.desk, task.attempt, silence) if rank == 0 else None
    try:
        with closing(line) if line else nullcontext():
            _work(task, context, line)
    except UserError as error:
        ray.get(task.desk.refuse.remote(task.attempt, str(error), isinstance(error, Unreachable)), timeout=30)
        raise


def _work(task: Task, context, line: Line | None) -> None:
    config = task.config
    if not task.gpu and config.device.startswith("cuda"):
        raise UserError(
            f"--device {config.device}: the workers have no GPU; give --gpus_per_worker 1, or another device"
        )
    device = str(ray.train.torch.get_device()) if task.gpu else "cpu"
    device = pick_device(device, **config.kernels)
    if device.type == "cpu":
        keep_freed_memory()
        torch.set_num_threads(task.threads)
    if config.compile:
        compiling.check(device)
    group = dist.new_group(backend="gloo", timeout=_FILES)
    world = World(context.get_world_rank(), context.get_world_size(), device, context.get_local_world_size(), group)
    place = place_of(config.out)
    _see_the_same(world, place, task.token)
    index = open_data(world, config)
    with place.opened(config) if line else nullcontext() as folder:
        if line:
            folder.fence = line.fence
        world.gather("opened")  # the collectives that follow wait no longer than --collective_timeout
        trainer = Trainer(config, world, index, folder)
        if not line:
            trainer.prepare(print)
            trainer.train(None)
            dist.destroy_process_group()
            return
        for note in notes(config, folder, trainer):
            line.say(note)
        if task.say_introduction:
            for text in introduction(config, index, trainer):
                line.say(text)
        trainer.prepare(line.say)
        line.begin(trainer.images)
        with explain(f"cannot write to {config.out} (the last checkpoint is kept)"):
            monitor = Monitor(config, folder, index, trainer.images, progress=line)
            with closing(monitor):
                outcome = trainer.train(monitor, lambda: line.stop)
                if outcome.finished:
                    finish(folder, monitor, outcome, len(trainer.feed.bad))
        dist.destroy_process_group()  # the others do, too: nobody waits for the last upload
    ray.get(task.desk.end.remote(task.attempt, outcome._asdict()))


def _see_the_same(world: World, place, token: str) -> None:
    """Whether every node sees the run's place as the driver does, and may write there.

    Raises:
        UserError: on all ranks, naming the nodes that do not.
    """
    end, problem = time.monotonic() + waits.SHARED, None
    try:
        while place.token() != token:
            if time.monotonic() > end:
                problem = "does not see what the driver wrote there"
                break
            time.sleep(0.5)
        else:
            place.probe(f"{world.rank}-{socket.gethostname()}")
    except UserError as error:
        problem = str(error)
    _say_where(world, problem, lambda nodes, what: (
        f"--out: {nodes} {what}; give a path that all nodes share, or an object store, as s3://bucket/run"
    ))  # fmt: skip


def open_data(world: World, config: Config) -> Index:
    """The index, the same on every rank.

    Raises:
        UserError: on all ranks.
    """
    problem = index = None
    try:
        index = index_file.load(config.data.path)
    except UserError as error:
        problem = str(error)
    _say_where(world, problem, lambda nodes, what: (
        f"--data: on {nodes}: {what}; give a path that all nodes share, or a URL"
    ))  # fmt: skip
    digests = world.gather(index.digest)
    if len(set(digests)) > 1:
        raise UserError(f"--data {config.data.path}: the nodes hold different data there; copy them, or give a URL")
    return index


def _say_where(world: World, problem: str | None, words) -> None:
    found = world.gather([f"{socket.gethostname()} ({ray.util.get_node_ip_address()})", problem])
    bad = {node: what for node, what in found if what}
    if bad:
        raise UserError(words(", ".join(sorted(bad)), next(iter(bad.values()))))
