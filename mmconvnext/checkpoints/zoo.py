"""The published backbone weights by name: where they lie, their architecture and their licence.

Sources: the READMEs of facebookresearch/ConvNeXt, facebookresearch/ConvNeXt-V2 and
facebookresearch/dinov3.
"""

from __future__ import annotations

from typing import NamedTuple

DINOV3_REQUEST = "https://ai.meta.com/resources/models-and-libraries/dinov3-downloads/"

_ADDRESS = "https://dl.fbaipublicfiles.com/convnext/"
_V1_SIZES = ("tiny", "small", "base", "large")
_V2_SIZES = ("atto", "femto", "pico", "nano", "tiny", "base", "large", "huge")


class Weights(NamedTuple):
    """A published file; the backbone's arguments ``arch`` and ``use_grn`` that it is for."""

    file: str  # its own name
    address: str | None  # None: its holder sends it after a request
    arch: str
    use_grn: bool
    licence: str


def _v1() -> list[str]:
    return [
        *(f"convnext_{size}_1k_224_ema" for size in _V1_SIZES),
        *(f"convnext_{size}_1k_384" for size in ("base", "large")),
        *(f"convnext_{size}_1k_224" for size in ("tiny", "small", "base")),
        *(f"convnext_{size}_22k_224" for size in (*_V1_SIZES, "xlarge")),
        *(f"convnext_{size}_22k_1k_{pixels}" for size in _V1_SIZES for pixels in (224, 384)),
        *(f"convnext_xlarge_22k_1k_{pixels}_ema" for pixels in (224, 384)),
    ]


def _v2() -> list[str]:
    return [
        *(f"pt_only/convnextv2_{size}_1k_224_fcmae" for size in _V2_SIZES),
        *(f"im1k/convnextv2_{size}_1k_224_ema" for size in _V2_SIZES),
        *(
            f"im22k/convnextv2_{size}_22k_{pixels}_ema"
            for size in ("nano", "tiny", "base", "large")
            for pixels in (224, 384)
        ),
        *(f"im22k/convnextv2_huge_22k_{pixels}_ema" for pixels in (384, 512)),
    ]


def _table() -> dict[str, Weights]:
    table = {}
    for name in _v1():
        arch = name.split("_")[1]
        table[name] = Weights(f"{name}.pth", f"{_ADDRESS}{name}.pth", arch, False, "MIT")
    for path in _v2():
        name = path.partition("/")[2]
        address = f"{_ADDRESS}convnextv2/{path}.pt"
        table[name] = Weights(f"{name}.pt", address, name.split("_")[1], True, "CC BY-NC 4.0")
    for size, digest in zip(
        _V1_SIZES, ("21b726bb", "296db49d", "801f2ba9", "61fa432d"), strict=True
    ):
        file = f"dinov3_convnext_{size}_pretrain_lvd1689m-{digest}.pth"
        table[f"dinov3_convnext_{size}"] = Weights(file, None, size, False, "DINOv3 License")
    return table


WEIGHTS = _table()


def find_weights_name(name: str) -> str | None:
    """The name in the table that ``name`` means, where the usual 224 pixels may be left out; None
    if it is not one."""
    return next((known for known in (name, f"{name}_224") if known in WEIGHTS), None)
