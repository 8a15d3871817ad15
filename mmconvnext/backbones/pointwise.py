"""``F.linear`` and GELU in one step, by the fastest kernel that PyTorch has for it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmconvnext.backbones.torch_state import is_compiling, is_exporting


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: str | None = None) -> Tensor:
    """``F.linear``, with ``gelu`` (``none`` or ``tanh``: torch's approximations) GELU after it.

    On CPUs with oneDNN both are one kernel, which is also the faster at the multiplication.
    """
    kernel = _COMPILED if is_compiling() else _EAGER
    if (
        kernel
        and not is_exporting()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
    ):
        return kernel(x, weight, bias, "" if gelu is None else gelu)
    x = F.linear(x, weight, bias)
    return x if gelu is None else F.gelu(x, approximate=gelu)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: str) -> Tensor:
    after = "gelu" if gelu else "none"
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], gelu)


def _has_onednn() -> bool:
    """Whether the kernel, which torch.compile uses and no documentation promises, is there and
    does what it does in the PyTorch of today."""
    x, weight, bias = torch.ones(2, 3), torch.full((4, 3), -0.2), torch.full((4,), 0.1)
    try:
        found = _onednn(x, weight, bias, "none")
    except (AttributeError, RuntimeError):
        return False
    return torch.allclose(found, F.gelu(F.linear(x, weight, bias)), rtol=1e-4)


def _known_to_compiler() -> Any:
    """The kernel as an operator that torch.compile calls and does not look into: of its own use of
    it, it wants the sizes to be fixed."""
    if not hasattr(torch.library, "custom_op"):  # before PyTorch 2.4
        return None
    operator = torch.library.custom_op("mmconvnext::linear", _onednn, mutates_args=())

    @operator.register_fake
    def _(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: str) -> Tensor:
        return x.new_empty((*x.shape[:-1], weight.shape[0]))

    return operator


_EAGER = _onednn if _has_onednn() else None
_COMPILED = _known_to_compiler() if _EAGER else None
