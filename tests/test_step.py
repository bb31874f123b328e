"""Our Adam is PyTorch's: the same bits, the same state, and steps that are skipped on the device."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ragdist.tools.optimizer import without_compile
from ragdist.training.optimizers import Adam

RATES = {"lr": 1e-2, "betas": (0.5, 0.9), "fused": True}


def layer() -> torch.nn.Linear:
    found = torch.nn.Linear(5, 3)
    with torch.no_grad():
        for number, parameter in enumerate(found.parameters()):
            parameter.copy_(torch.arange(parameter.numel()).view_as(parameter) / 7 - number)
    return found


def step(network: torch.nn.Module, optimizer: torch.optim.Adam, number: int, bad: float = 0.0) -> None:
    optimizer.zero_grad()
    (network(torch.full((2, 5), number + 1.0)) ** 2).sum().backward()
    optimizer.found_inf = torch.tensor(bad)
    optimizer.step()


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(map(torch.equal, a.parameters(), b.parameters()))


def test_steps_and_state_are_pytorchs():
    ours, theirs = layer(), layer()
    adam, reference = Adam(ours.parameters(), **RATES), torch.optim.Adam(theirs.parameters(), **RATES)
    for number in range(3):
        step(ours, adam, number)
        step(theirs, reference, number)
    assert same(ours, theirs)
    assert adam.state_dict().keys() == reference.state_dict().keys()
    assert adam.state_dict()["param_groups"] == reference.state_dict()["param_groups"]
    # Each goes on from the other's state.
    continued = Adam(ours.parameters(), **RATES)
    continued.load_state_dict(reference.state_dict())
    reference.load_state_dict(adam.state_dict())
    step(ours, continued, 3)
    step(theirs, reference, 3)
    assert same(ours, theirs)


@pytest.mark.parametrize("bad", [0.0, 1.0])
def test_a_step_that_is_not_finite_changes_nothing(bad):
    network = layer()
    optimizer = Adam(network.parameters(), **RATES)
    step(network, optimizer, 0)
    before = [parameter.clone() for parameter in network.parameters()]
    step(network, optimizer, 1, bad)
    assert all(map(torch.equal, before, network.parameters())) == bool(bad)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_no_method_imports_what_compiles(kind):
    """Not those that PyTorch may add a decorator to later, either."""

    def decorators(method: object) -> Iterator[str]:
        while code := getattr(method, "__code__", None):
            yield Path(code.co_filename).name
            method = getattr(method, "__wrapped__", None)

    def decorated(kind: type) -> list[str]:
        return [name for name in dir(kind) if "_compile.py" in decorators(getattr(kind, name))]

    assert decorated(kind)
    assert not decorated(without_compile(kind))
