"""A convolution whose gradient can itself be differentiated at the cost of a convolution.

Gradient penalties need the second derivative of D. PyTorch has it for any convolution, but computes its part for the
weights as a convolution with the picture as its kernel, for each group in turn: a slow one, and many. Written as a
transposed convolution of the gradient with the weights, the input's gradient is an operation like any other, and its
own backward is as fast as others' (docs/performance.md). The same idea serves the penalties of StyleGAN2 (Karras et
al. 2020).
"""

import contextlib

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_of_weights = True  # not thread-local: CUDA's backward runs in threads of its own


@contextlib.contextmanager
def inputs_only():
    """Backwards that will be differentiated leave out the weights' gradients, which no one asked them for.

    For `torch.autograd.grad(..., inputs, create_graph=True)`: autograd does not tell a function what was asked.
    """
    global _of_weights
    before, _of_weights = _of_weights, False
    try:
        yield
    finally:
        _of_weights = before


class Conv2d(nn.Conv2d):
    """torch.nn.Conv2d, padded with zeros, for networks that are differentiated twice."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.padding_mode == "zeros", self.padding_mode
        assert not isinstance(self.padding, str), self.padding
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return super().forward(x)
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled(x.device.type):  # which does not look inside of `_Convolution`
            kind = torch.get_autocast_dtype(x.device.type)
            x, weight, bias = x.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
        return _Convolution.apply(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, stride, padding, dilation, groups):
        ctx.save_for_backward(x, weight)
        ctx.bias_sizes = None if bias is None else list(bias.shape)
        ctx.how = (stride, padding, dilation, groups)
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.how
        of_input, of_weight, of_bias = ctx.needs_input_grad[:3]
        if not torch.is_grad_enabled():
            needed = [of_input, of_weight, of_bias]
            found = torch.ops.aten.convolution_backward(
                gradient, x, weight, ctx.bias_sizes, stride, padding, dilation, False, [0, 0], groups, needed
            )
            return *found, None, None, None, None
        # It will be differentiated: the input's gradient as a function of the two things that it depends on.
        at_input = at_weight = at_bias = None
        if of_input:
            least = [
                (gradient.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + dilation[i] * (weight.shape[2 + i] - 1) + 1
                for i in (0, 1)
            ]
            more = [x.shape[2 + i] - least[i] for i in (0, 1)]
            at_input = F.conv_transpose2d(gradient, weight, None, stride, padding, more, groups, dilation)
        if of_weight and _of_weights:
            at_weight = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, stride, padding, dilation, False, [0, 0], groups, [False, True, False]
            )[1]
        if of_bias and _of_weights:
            at_bias = gradient.sum([0, 2, 3])
        return at_input, at_weight, at_bias, None, None, None, None
