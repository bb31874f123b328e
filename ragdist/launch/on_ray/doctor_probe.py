"""The doctor's probe: an actor on each node that measures and reads."""

import os
import platform
import shutil
import socket
import time
from pathlib import Path
from typing import Any

from ragdist.tools.machine import cpu_count, memory


class Probe:
    """A probe of one node. All results are plain values."""

    def about(self, cache: str) -> dict[str, Any]:
        """Versions and sizes."""
        import ray
        import torch

        found = {
            "host": socket.gethostname(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "ray": ray.__version__,
            "nccl": "-",
            "driver": "-",
            "cores": cpu_count(),
            "memory_gb": memory() / 1e9,
            "shm_gb": shutil.disk_usage("/dev/shm").total / 1e9 if os.path.isdir("/dev/shm") else None,
            "files": _open_files(),
            "cache_free_gb": shutil.disk_usage(_existing(Path(cache).expanduser())).free / 1e9,
        }
        try:
            import ragdist

            found["ragdist"] = f"{_version()} {_digest(Path(ragdist.__file__).parent)}"
        except ImportError as error:
            found["ragdist"] = f"missing ({error})"
        if torch.cuda.is_available():
            found["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
            found["driver"] = _driver()
        return found

    def clock(self) -> float:
        """Seconds since the epoch, by this node's clock."""
        return time.time()

    def see(self, out: str, token: str) -> str:
        """Check a folder for runs: the error, if it does not show ``token``, or cannot be written."""
        from ragdist.launch.on_ray import waits
        from ragdist.runs.open import run_at
        from ragdist.tools.errors import UserError

        place = run_at(out)
        end = time.monotonic() + waits.SHARED
        try:
            while place.token() != token:
                if time.monotonic() > end:
                    return "does not see what the driver wrote there"
                time.sleep(0.5)
            place.probe(f"doctor-{socket.gethostname()}-{os.getpid()}")
        except UserError as error:
            return str(error)
        return ""

    def read(self, data: str, cache: str, first: int, seconds: float) -> dict[str, Any]:
        """Read samples from number ``first`` on: samples and payload bytes a second, and the index's digest."""
        from ragdist.data import index as index_file
        from ragdist.data.reader import BadSample, ShardReader
        from ragdist.data.shard_files import ShardFiles
        from ragdist.storage.cache import Cache
        from ragdist.tools.errors import UserError

        try:
            index = index_file.load(data)
            files = ShardFiles(data, index, Cache(os.path.expanduser(cache), int(100e9)))
            reader = ShardReader(files)
            shard = first % len(index.shards)
            lengths = files.table(shard)["length"]
            reader.read(shard, 0)  # fetched, opened
            began, count, size, bad = time.perf_counter(), 0, 0, 0
            while time.perf_counter() - began < seconds:
                number = count % len(lengths)
                bad += isinstance(reader.read(shard, number), BadSample)
                count, size = count + 1, size + int(lengths[number])
            seconds = time.perf_counter() - began
        except UserError as error:
            return {"problem": str(error)}
        rates = {"samples": count / seconds, "mb": size / seconds / 1e6}
        return {"problem": "", "digest": index.digest, "bad": bad, **rates}

    # The network.

    def free_address(self) -> str:
        """An address at which this node can be the meeting point of a process group."""
        import ray

        with socket.socket() as probe:
            probe.bind(("", 0))
            return f"tcp://{ray.util.get_node_ip_address()}:{probe.getsockname()[1]}"

    def all_reduce(self, address: str, rank: int, size: int, megabytes: int, gpu: bool, timeout: float) -> dict:
        """Latency in seconds of a small all-reduce, and the bus bandwidth in bytes/s of a large one."""
        from datetime import timedelta

        import torch
        import torch.distributed as dist

        dist.init_process_group(
            "nccl" if gpu else "gloo", address, rank=rank, world_size=size, timeout=timedelta(seconds=timeout)
        )
        try:
            device = torch.device("cuda" if gpu else "cpu")
            small = _times(torch.ones(1, device=device), 20)
            large = torch.ones(megabytes * 2**18, device=device)
            seconds = _times(large, 3)
            # Each byte crosses a link 2 (n - 1) / n times, whatever the algorithm: NCCL's "bus bandwidth".
            return {"latency": small, "bandwidth": 2 * (size - 1) / size * large.nbytes / seconds}
        finally:
            dist.destroy_process_group()


def _times(tensor, repeats: int) -> float:
    """Median seconds of an all-reduce."""
    import torch
    import torch.distributed as dist

    found = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        dist.all_reduce(tensor)
        if tensor.is_cuda:
            torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return sorted(found[1:])[repeats // 2]


def _open_files() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ragdist")
    except PackageNotFoundError:  # it comes with the job's working directory
        return "?"


def _digest(package: Path) -> str:
    """A digest of the code, eight digits."""
    import hashlib

    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def _driver() -> str:
    file = Path("/proc/driver/nvidia/version")
    words = file.read_text().split() if file.exists() else []
    return next((word for word in words if word[:1].isdigit() and "." in word), "?")
