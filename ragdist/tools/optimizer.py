"""PyTorch's optimizers without what torch.compile needs."""

from inspect import unwrap

import torch


def without_compile(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """A class of optimizers without the decorators that keep torch.compile off its methods.

    Each of them imports all of torch.compile when it is first called, which takes seconds. Steps are the same.
    """
    decorated = ("add_param_group", "state_dict", "load_state_dict", "zero_grad")
    methods = {name: unwrap(getattr(kind, name)) for name in decorated}
    return type(kind.__name__, (kind,), methods | {"step": torch.no_grad()(unwrap(kind.step))})
