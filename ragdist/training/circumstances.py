"""What a run's bits depend on beside its configuration and data: processor or card, versions, kernels."""

import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

import ragdist
from ragdist.config import Config
from ragdist.distributed.world import World

KEYS = ("computes", "torch", "compile", "deterministic", "micro_batch")
_OLDER = (
    "this run is older than logical workers, and has one: it goes on on one worker, with sums in another order than on "
    "several workers or threads; the same to rounding, and not the same bits"
)
_WORDS = {"computes": "processor or card", "torch": "PyTorch", "micro_batch": "micro-batch"}


def circumstances(config: Config, device: torch.device, micro_batch: int) -> dict[str, Any]:
    """What is noted in a checkpoint's meta.json, by `KEYS`, and the version of ragdist."""
    return {
        "computes": kind(device),
        "torch": torch.__version__,
        "compile": config.compile,
        "deterministic": config.deterministic,
        "micro_batch": micro_batch,
        "ragdist": ragdist.__version__,
    }


@cache
def kind(device: torch.device) -> str:
    """The kind of a device: a card's name, or a processor's model and the instructions that PyTorch uses of it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.backends.cpu.get_cpu_capability()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def notes(mine: Mapping[str, Any], meta: Mapping[str, Any]) -> list[str]:
    """Lines about what is other than it was when a checkpoint was written, if anything is.

    Args:
        mine: this process's circumstances.
        meta: the checkpoint's meta.json; versions before 0.3 noted less.
    """
    older = [] if "logical_workers" in meta["config"] else [_OLDER]
    return older + _changed(mine, meta)


def _changed(mine: Mapping[str, Any], meta: Mapping[str, Any]) -> list[str]:
    other = [key for key in KEYS if meta.get(key, mine[key]) != mine[key]]
    changed = [f"{_WORDS.get(key, '--' + key)} {meta[key]} -> {mine[key]}" for key in other]
    if not changed:
        return []
    return [f"going on with another {'; '.join(changed)}: the same to rounding, and not the same bits"]


def on_all(world: World, mine: Mapping[str, Any]) -> list[str]:
    """A line about workers that differ in what they compute with, if they do; all must call."""
    kinds = sorted({*world.gather(mine["computes"])})
    if len(kinds) == 1:
        return []
    return [f"the workers compute on several kinds ({'; '.join(kinds)}): which part is whose decides the last bits"]
