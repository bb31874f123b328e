"""A convolution whose gradient can be differentiated at the cost of a convolution.

Gradient penalties need the second derivative of D. PyTorch has it for any convolution, but computes its part for the
weights as a convolution with the picture as its kernel, for each group in turn: a slow one, and many. Written as a
transposed convolution of the gradient with the weights, the input's gradient is an operation like any other, and its
own backward is as fast as others' (docs/performance.md). The same idea serves the penalties of StyleGAN2 (Karras et
al. 2020).
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Penalizable:
    """What makes a layer of `torch.nn` have the cheaper second derivative."""

    penalized = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.penalized:  # then PyTorch's has less to do: nothing of it is in Python
            return super().forward(x)
        assert self.padding_mode == "zeros", self.padding_mode
        assert not isinstance(self.padding, str), self.padding
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled(x.device.type):  # which does not look inside of `_Convolution`
            kind = torch.get_autocast_dtype(x.device.type)
            x, weight, bias = x.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
        return _Convolution.apply(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


@contextlib.contextmanager
def penalized(network: nn.Module) -> Iterator[None]:
    """Mark forwards of a network whose input gradients will be differentiated, as gradient penalties do; a context.

    There `torch.autograd.grad(..., create_graph=True)` reaches inputs alone and not weights: autograd does not tell a
    function written in Python which were asked for, and no penalty needs both. A backward without a graph is whole.
    """
    layers = [module for module in network.modules() if isinstance(module, _Penalizable)]
    for layer in layers:
        layer.penalized = True
    try:
        yield
    finally:
        for layer in layers:
            layer.penalized = False


class Conv1d(_Penalizable, nn.Conv1d):
    """torch.nn.Conv1d, padded with zeros, with a cheaper second derivative when `penalized`."""


class Conv2d(_Penalizable, nn.Conv2d):
    """torch.nn.Conv2d, padded with zeros, with a cheaper second derivative when `penalized`."""


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, stride, padding, dilation, groups):
        ctx.save_for_backward(x, weight)
        ctx.bias_sizes = None if bias is None else list(bias.shape)
        ctx.how = (stride, padding, dilation, groups)
        convolve = F.conv1d if len(stride) == 1 else F.conv2d
        return convolve(x, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.how
        axes = range(len(stride))
        if not torch.is_grad_enabled():
            found = torch.ops.aten.convolution_backward(
                gradient, x, weight, ctx.bias_sizes, stride, padding, dilation, False, [0 for _ in axes], groups,
                ctx.needs_input_grad[:3],
            )  # fmt: skip
            return *found, None, None, None, None
        least = [
            (gradient.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + dilation[i] * (weight.shape[2 + i] - 1) + 1
            for i in axes
        ]
        more = [x.shape[2 + i] - least[i] for i in axes]  # where the stride left a rest of the input
        back = F.conv_transpose1d if len(stride) == 1 else F.conv_transpose2d
        at_input = back(gradient, weight, None, stride, padding, more, groups, dilation)
        return at_input, None, None, None, None, None, None
