"""The worker of a run on Ray Train: one rank."""

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

from ragdist.config import Config, identity
from ragdist.data import index as index_file
from ragdist.data.index import Index
from ragdist.distributed.world import World, pick_device
from ragdist.launch.on_ray import waits
from ragdist.launch.on_ray.driver_channel import SILENCE, DriverChannel
from ragdist.launch.session import finish, introduction, notes
from ragdist.runs.folder import RunFolder
from ragdist.runs.open import run_at
from ragdist.tools import plugins
from ragdist.tools.errors import Unreachable, UserError
from ragdist.tools.memory import keep_freed_memory
from ragdist.training import compiling
from ragdist.training.monitor import Monitor
from ragdist.training.trainer import Outcome, Trainer

_FILES = timedelta(hours=6)  # that a worker may take to read or write a file while the others wait


@dataclass
class Task:
    """The task that every worker gets from the driver."""

    config: Config
    mailbox: Any  # the actor
    attempt: int
    token: str  # the fencing token of the run's lease
    threads: int  # that a worker computes with, on the CPU
    gpu: bool
    say_introduction: bool
    plugins: tuple[plugins.Plugin, ...]  # of the run
    code: identity.Code  # that the run depends on, as the driver has it


def work(task: Task) -> None:
    """Run one rank, from start to end of an attempt."""
    context = ray.train.get_context()
    rank = context.get_world_rank()
    about = {
        "node": ray.get_runtime_context().get_node_id(),
        "address": ray.util.get_node_ip_address(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "group": ray.util.get_current_placement_group(),
    }
    ray.get(task.mailbox.join.remote(task.attempt, rank, about))
    silence = min(SILENCE, 2 * task.config.collective_timeout)
    channel = DriverChannel(task.mailbox, task.attempt, silence) if rank == 0 else None
    try:
        with closing(channel) if channel else nullcontext():
            _work(task, context, channel)
    except UserError as error:
        ray.get(task.mailbox.refuse.remote(task.attempt, str(error), isinstance(error, Unreachable)), timeout=30)
        raise


def _work(task: Task, context, channel: DriverChannel | None) -> None:
    config, world, place = task.config, _join(task, context), run_at(task.config.out)
    _check_folder(world, place, task.token)
    _load_plugins(world, task.plugins)
    index = open_data(world, config)
    _check_packages(world, task, index)
    with place.opened(config, task.token) if channel else nullcontext() as folder:
        if channel:
            folder.fences.append(channel.fence)
        world.gather("opened")  # the collectives that follow wait no longer than --collective_timeout
        trainer = Trainer(config, world, index, folder)
        if channel:
            outcome = _train(task, trainer, index, folder, channel)
        else:
            trainer.prepare(print)
            trainer.train(None)
        dist.destroy_process_group()  # on all ranks: nobody waits for the last upload
    if channel:
        ray.get(task.mailbox.end.remote(task.attempt, outcome._asdict()))


def _join(task: Task, context) -> World:
    """Set up this rank's device, and join the process group."""
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
    return World(context.get_world_rank(), context.get_world_size(), device, context.get_local_world_size(), group)


def _train(task: Task, trainer: Trainer, index: Index, folder: RunFolder, channel: DriverChannel) -> Outcome:
    """Train on rank 0, which writes to the run's folder and reports to the driver."""
    config = task.config
    for note in notes(config, folder, trainer):
        channel.say(note)
    if task.say_introduction:
        for text in introduction(config, index, trainer):
            channel.say(text)
    trainer.prepare(channel.say)
    channel.begin(trainer.seen)
    monitor = Monitor(config, folder, index, trainer.seen, progress=channel)
    with closing(monitor):
        outcome = trainer.train(monitor, lambda: channel.stop)
        if outcome.finished:
            finish(folder, monitor, outcome, len(trainer.loader.bad))
    return outcome


def _check_folder(world: World, place, token: str) -> None:
    """Check that every node sees the run's folder as the driver does, and may write there.

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


def _load_plugins(world: World, sent: tuple[plugins.Plugin, ...]) -> None:
    """Execute the run's plugins on all ranks.

    Raises:
        UserError: on all ranks, naming the nodes where one fails.
    """
    problem = None
    try:
        plugins.take(sent)
    except UserError as error:
        problem = str(error)
    _say_where(world, problem, lambda nodes, what: f"{what} (on {nodes})")


def open_data(world: World, config: Config) -> Index:
    """Load the index, and check that it is equal on all ranks.

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


def _check_packages(world: World, task: Task, index: Index) -> None:
    """Check that every node has the packages that the driver has, of those that the run depends on.

    Raises:
        UserError: on all ranks, naming the nodes that do not.
    """
    mine = identity.code_of(task.config, index.packages)
    _say_where(world, "; ".join(identity.differences(mine, task.code)) or None, lambda nodes, what: (
        f"{nodes} and the driver have different packages ({what}): install the same ones on all nodes"
    ))  # fmt: skip


def _say_where(world: World, problem: str | None, words) -> None:
    found = world.gather([f"{socket.gethostname()} ({ray.util.get_node_ip_address()})", problem])
    bad = {node: what for node, what in found if what}
    if bad:
        raise UserError(words(", ".join(sorted(bad)), next(iter(bad.values()))))
