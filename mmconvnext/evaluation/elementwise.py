"""Operations that mmcv's counter adds to the multiply-accumulates, for comparison with tables that
were made with it (``get_flops`` of mmdet and mmseg: the ResNet, Swin and ConvNeXt papers' tables).

It goes by the exact type of a module: synchronised batch norms, GELU, and norms of a network's own
cost nothing there. What it leaves out, products outside of layers such as attention's two, the
Swin authors counted; so does :func:`mmconvnext.evaluation.complexity.count_complexity`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

# For each element: of the output, or of the input, which pooling makes smaller.
_OF_OUTPUT = (nn.ReLU, nn.ReLU6, nn.PReLU, nn.ELU, nn.LeakyReLU)
_OF_INPUT = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)
_NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d, nn.LayerNorm)
_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)  # and their subclasses: mmcv wraps them


@contextmanager
def counting_elementwise(model: nn.Module) -> Iterator[Callable[[], int]]:
    """Count what ``model`` computes inside besides products: biases of convolutions, norms (two for
    each element, if they have weights), ReLUs and pooling.

    Yields:
        A function that returns the count so far.
    """
    found = 0

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal found
        found += _operations(module, inputs[0], output)

    counted = [module for module in model.modules() if _counts(module)]
    hooks = [module.register_forward_hook(count) for module in counted]
    try:
        yield lambda: found
    finally:
        for hook in hooks:
            hook.remove()


def _counts(module: nn.Module) -> bool:
    if isinstance(module, _CONVOLUTIONS):
        return module.bias is not None
    return type(module) in (*_OF_OUTPUT, *_OF_INPUT, *_NORMS)


def _operations(module: nn.Module, given: Tensor, output: Tensor) -> int:
    if type(module) in _OF_INPUT:
        return given.numel()
    if type(module) in _NORMS:
        weighted = any(True for _ in module.parameters(recurse=False))
        return given.numel() * (2 if weighted else 1)
    return output.numel()
