"""How the tests of a GPU are started, and the device they run on.

    python -m pytest tests/gpu -n 0        (or: python -m pytest -m gpu -n 0)

They need PyTorch with CUDA and the package's dependencies but Ray and webdataset, and of the tests' pytest,
pytest-timeout, pytest-xdist and hypothesis. Where there is no GPU they are skipped. With RAGDIST_TEST_DEVICE=cpu the
same functions run on the processor, which shows that they are right as far as it can.
"""

import os

import pytest
import torch

from ragdist.distributed.world import pick_device
from tests.conftest import GPUS

NAME = os.environ.get("RAGDIST_TEST_DEVICE", "cuda")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without being asked for they are left out: other tests hide the GPUs from the whole process."""
    mine = [item for item in items if item.get_closest_marker("gpu")]
    if "gpu" not in config.getoption("markexpr") and len(mine) < len(items):
        items[:] = [item for item in items if item not in mine]
        config.hook.pytest_deselected(items=mine)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device, told to compute with deterministic kernels alone; or a skip."""
    if NAME.startswith("cuda"):
        if GPUS is None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = GPUS
        if not torch.cuda.is_available():
            pytest.skip("there is no GPU, and RAGDIST_TEST_DEVICE names no other device")
    return pick_device(NAME, deterministic=True)
