"""torch.compile for the networks: a trial of the compiler, the options it gets, and the time it takes.

Nothing of it is imported before it is used: that takes as long as PyTorch itself.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

import torch

from ragdist.tools.errors import UserError


def check(device: torch.device) -> None:
    """Compile a small function, to find out whether torch.compile works on this device.

    Raises:
        UserError: something is missing that it needs.
    """
    if torch.are_deterministic_algorithms_enabled():  # so far PyTorch alone knows: torch.compile must, too
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        torch.compile(lambda x: x.sin() + 1, fullgraph=True)(torch.zeros(16, device=device))
    except Exception as error:  # whatever it is: this run cannot compile
        needs = "a C++ compiler (g++, or what CXX names)" + (" and Triton" if device.type == "cuda" else "")
        what = f"--compile true: nothing can be compiled here ({_reason(error)})"
        raise UserError(f"{what}: install {needs}, or leave --compile out") from error


def compiled(*functions: Callable) -> list[Callable]:
    """Compiled versions of the functions, made at the first call with each size of input.

    A run has few sizes: a logical worker's slots, or those of its micro-batches and of the last. Kernels for just these
    are faster than for any, and are made before the run (`Trainer.prepare`).
    """
    # What else was compiled in this process is forgotten: of each function PyTorch keeps code for a handful of cases.
    torch.compiler.reset()
    # Fourier transforms run as they do uncompiled, which is fast.
    warnings.filterwarnings("ignore", "Torchinductor does not support code generation for complex operators")
    return [_whole(torch.compile(function, dynamic=False, fullgraph=True)) for function in functions]


def _whole(function: Callable) -> Callable:
    """A compiled function that is not cut inside of DistributedDataParallel where a bucket of it ends.

    In pieces it would round otherwise than where one worker computes it.
    """

    @wraps(function)
    def call(*arguments):
        with torch._dynamo.config.patch(optimize_ddp=False):  # in each thread
            return function(*arguments)

    return call


@contextmanager
def announced(say: Callable[[str], None] | None) -> Iterator[None]:
    """Announce that the networks are compiled, and then how long it took; a context.

    Raises:
        UserError: they cannot be.
    """
    began = time.perf_counter()
    if say:
        say("compiling the networks (a minute or so; less where they were compiled before) ...")
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise UserError(f"--compile true fails on these networks ({_reason(error)}): leave it out") from error
    if say:
        say(f"compiled in {time.perf_counter() - began:.1f} s")


def _reason(error: BaseException) -> str:
    """The line of a compiler's error that names the cause."""
    cause = getattr(error, "inner_exception", error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    told = [line for line in lines if "error:" in line.lower()]
    line = (told or lines or [type(cause).__name__])[0]
    return line if len(line) <= 200 else line[:197] + "..."
