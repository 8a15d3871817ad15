"""The named architectures, and the numbers for each stage and block that arguments come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch


class Arch(NamedTuple):
    """Number of blocks and of channels of each stage."""

    depths: tuple[int, ...]
    channels: tuple[int, ...]


# The same for V1 and V2: V1 paper section 3; V2 paper section 3.3 and, below tiny, its code.
ARCHS = {
    "atto": Arch((2, 2, 6, 2), (40, 80, 160, 320)),
    "femto": Arch((2, 2, 6, 2), (48, 96, 192, 384)),
    "pico": Arch((2, 2, 6, 2), (64, 128, 256, 512)),
    "nano": Arch((2, 2, 8, 2), (80, 160, 320, 640)),
    "tiny": Arch((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": Arch((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": Arch((3, 3, 27, 3), (128, 256, 512, 1024)),
    "large": Arch((3, 3, 27, 3), (192, 384, 768, 1536)),
    "xlarge": Arch((3, 3, 27, 3), (256, 512, 1024, 2048)),
    "huge": Arch((3, 3, 27, 3), (352, 704, 1408, 2816)),
}


def require(ok: bool, argument: str, allowed: str, found: object) -> None:
    """Raise the ValueError of a bad argument unless ``ok``."""
    if not ok:
        raise ValueError(f"{argument}: expected {allowed}, found {found!r}")


def resolve_arch(arch: str | Mapping[str, Sequence[int]]) -> Arch:
    """Depths and channels of a named architecture, or of ``dict(depths=…, channels=…)``.

    Raises:
        ValueError: an unknown name, or a dict that is not two equally long lists of positive
            integers.
    """
    if isinstance(arch, str):
        require(arch in ARCHS, "arch", f"one of {', '.join(ARCHS)} or a dict", arch)
        return ARCHS[arch]
    keys = ("depths", "channels")  # the first is what the other's length is compared with
    require(
        isinstance(arch, Mapping) and set(arch) == set(keys),
        "arch",
        "a name or a dict with the keys depths and channels",
        arch,
    )
    for key in keys:
        numbers = arch[key]
        require(
            isinstance(numbers, (list, tuple))
            and len(numbers) == len(arch["depths"]) > 0
            and all(isinstance(number, int) and number > 0 for number in numbers),
            f"arch[{key!r}]",
            "a list of positive integers, one for each stage, as many as depths",
            numbers,
        )
    return Arch(tuple(arch["depths"]), tuple(arch["channels"]))


def stage_indices(out_indices: int | Sequence[int], num_stages: int) -> tuple[int, ...]:
    """``out_indices`` counted from the first stage, in stage order."""
    given = [out_indices] if isinstance(out_indices, int) else list(out_indices)
    indices = {i + num_stages if i < 0 else i for i in given}
    require(
        len(indices) == len(given) > 0 and indices <= set(range(num_stages)),
        "out_indices",
        f"different stages, each from {-num_stages} to {num_stages - 1}",
        out_indices,
    )
    return tuple(sorted(indices))


def stage_dilations(output_stride: int | None, patch: int, num_stages: int) -> list[int]:
    """Dilation of each stage: 1 up to ``output_stride``, then doubling instead of the stride."""
    strides = [patch * 2**i for i in range(num_stages)]
    if output_stride is None:
        return [1] * num_stages
    require(
        output_stride in (8, 16, 32) and (output_stride in strides or output_stride > strides[-1]),
        "output_stride",
        f"8, 16 or 32, where the stages' strides are {strides}",
        output_stride,
    )
    return [max(1, stride // output_stride) for stride in strides]


def drop_path_rates(drop_path_rate: float, num_blocks: int) -> list[float]:
    """Rate of each block, rising linearly from 0 to ``drop_path_rate`` (the authors' rule)."""
    require(0 <= drop_path_rate < 1, "drop_path_rate", "at least 0, below 1", drop_path_rate)
    # On the CPU even where the network is built on the meta device: the rates are real numbers.
    return torch.linspace(0, drop_path_rate, num_blocks, device="cpu").tolist()


def layer_scale(init_value: float | None, use_grn: bool) -> float:
    """Initial layer scale, 0 for none; by default V1 has one and V2 none."""
    if init_value is None:
        return 0.0 if use_grn else 1e-6
    argument = "layer_scale_init_value"
    require(init_value >= 0, argument, "0 (none) or more", init_value)
    require(not use_grn or init_value == 0, argument, "0 or None with use_grn", init_value)
    return init_value
