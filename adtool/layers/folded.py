"""A network for inference: each batch norm part of the convolution before it, channels innermost in memory.

A frozen network computes the same, to rounding, in half the time on a CPU: a norm of fixed statistics is a scale and a
shift of each channel, which the convolution's weights and bias can carry.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


def folded(network: nn.Module) -> nn.Module:
    """A copy in eval mode without batch norms; every one must be registered right after its convolution."""
    copy = deepcopy(network).eval()
    convolution: nn.Conv2d | None = None
    for name, module in list(copy.named_modules()):
        if isinstance(module, nn.Conv2d):
            convolution = module
        elif isinstance(module, nn.BatchNorm2d):
            if convolution is None or convolution.out_channels != module.num_features:
                raise ValueError(f"{name}: expected a convolution to {module.num_features} channels before it")
            _absorb(convolution, module)
            copy.set_submodule(name, nn.Identity())
            convolution = None
    return copy.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _absorb(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """norm(convolution(x)) as one convolution."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("expected a batch norm with running statistics")
    with torch.no_grad():
        scale = norm.weight.double() / (variance.double() + norm.eps).sqrt()
        bias = norm.bias.double() - mean.double() * scale
        if convolution.bias is not None:
            bias += convolution.bias.double() * scale
        weight = convolution.weight.double() * scale.view(-1, 1, 1, 1)
        kind, frozen = convolution.weight.dtype, {"requires_grad": False}
        convolution.weight = nn.Parameter(weight.to(kind), **frozen)
        convolution.bias = nn.Parameter(bias.to(kind), **frozen)


class Folded:
    """`folded(network)`, made when it is first asked for and anew when the network has changed since."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._copy: nn.Module | None = None
        self._made_of: list[tuple[int, int]] = []

    def __call__(self) -> nn.Module:
        state = [*self._network.parameters(), *self._network.buffers()]
        made_of = [_state(tensor) for tensor in state]
        if self._copy is None or made_of != self._made_of:
            with torch.inference_mode(False):  # it may be used where gradients are recorded too
                self._copy, self._made_of = folded(self._network), made_of
        return self._copy


def _state(tensor: Tensor) -> tuple[int, int]:
    """What changes whenever a tensor is replaced, moved or written to, except through `.data`."""
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version
