"""What PyTorch is doing right now, asked in the words of each version from 2.1 on."""

from __future__ import annotations

import torch

# Whether torch.compile or torch.export is looking on.
is_compiling = getattr(torch.compiler, "is_compiling", None) or torch._dynamo.is_compiling
# Whether it is torch.export: what it records runs elsewhere, where none of our operators are.
is_exporting = getattr(torch.compiler, "is_exporting", None) or torch._dynamo.is_compiling


def autocast_state(device: str) -> tuple[torch.dtype, bool]:
    """Type of autocast on a kind of device (``cpu``, ``cuda``), and whether it is on."""
    if hasattr(torch, "get_autocast_dtype"):  # from PyTorch 2.4 on, for every device
        return torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
    if device == "cpu":
        return torch.get_autocast_cpu_dtype(), torch.is_autocast_cpu_enabled()
    return torch.get_autocast_gpu_dtype(), torch.is_autocast_enabled()


def set_cuda_autocast(dtype: torch.dtype, enabled: bool) -> None:
    """Turn autocast for CUDA on or off, even where there is no GPU."""
    if hasattr(torch, "get_autocast_dtype"):
        torch.set_autocast_enabled("cuda", enabled)
        torch.set_autocast_dtype("cuda", dtype)
    else:
        torch.set_autocast_enabled(enabled)
        torch.set_autocast_gpu_dtype(dtype)


def trains_eagerly() -> bool:
    """Whether a gradient is wanted, and nobody records what is computed."""
    return torch.is_grad_enabled() and not torch.jit.is_tracing() and not is_compiling()


_ONEDNN = torch.backends.mkldnn.is_available()


def onednn_computes(dtype: torch.dtype) -> bool:
    """Whether oneDNN has kernels for the type on this CPU: single precision, or bfloat16 if the
    processor can multiply in it."""
    return _ONEDNN and (dtype == torch.float32 or (dtype == torch.bfloat16 and _BFLOAT16))


def _multiplies_in_bfloat16() -> bool:
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # which no documentation promises
        return False


_BFLOAT16 = _ONEDNN and _multiplies_in_bfloat16()
