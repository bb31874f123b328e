"""The rounds of a fuzzer: a fixed number, or as long as asked for."""

import time
from collections.abc import Callable, Iterator
from random import Random

import pytest


def pytest_collection_modifyitems(config, items):
    if config.getoption("--fuzz"):  # each goes on for as long as it is asked to
        for item in items:
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture
def rounds(request) -> Iterator[Callable[[int], Iterator[Random]]]:
    """A fuzzer's rounds, of so many: what each is to draw from. The one that fails, or crashes, is named."""
    number = request.config.getoption("--fuzz_from")
    seconds = request.config.getoption("--fuzz")

    def rounds(count: int) -> Iterator[Random]:
        nonlocal number
        last, until = number + count, time.monotonic() + seconds
        while time.monotonic() < until if seconds else number < last:
            note.write_text(f"{request.node.nodeid} --fuzz_from {number}\n")  # for whoever asks after a crash
            yield Random(f"{request.node.name} {number}")
            number += 1

    note = request.config.rootpath / ".pytest_cache" / "fuzz" / f"{request.node.name}.txt"
    note.parent.mkdir(parents=True, exist_ok=True)
    yield rounds
    print(f"{number} rounds; of a failed one: pytest {request.node.nodeid} --fuzz_from {number}")
