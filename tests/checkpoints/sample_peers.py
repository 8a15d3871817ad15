"""Models of other packages, without their values, and random ones for them."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from mmconvnext.backbones.archs import ARCHS, Arch

transformers = pytest.importorskip(
    "transformers", reason="its current releases have no wheels for Python 3.10"
)

V1 = ("tiny", "small", "base", "large", "xlarge")
V2 = ("atto", "femto", "pico", "nano", "tiny", "base", "large", "huge")
TIMM = (("", ("atto", "femto", "pico", "nano", *V1, "xxlarge")), ("v2", (*V2, "small")))
TIMM_NAMES = [f"convnext{version}_{size}" for version, sizes in TIMM for size in sizes]
HUGGING_FACE = [("ConvNext", size) for size in V1] + [("ConvNextV2", size) for size in V2]
DINOV3 = V1[:4]
# Of OpenCLIP's, at timm only: its own eps, too.
XXLARGE = Arch((3, 4, 30, 3), (384, 768, 1536, 3072))


def numbers(model: nn.Module) -> nn.Module:
    """``model``, built on the meta device, with random weights: the packages' own initialisation
    takes minutes for the large ones, and leaves out what is zero there."""
    model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for name, param in model.named_parameters():
        # Every weight has to matter: at the packages' own scales, layer scale hides the blocks.
        if "gamma" in name or "layer_scale" in name or ".grn." in name:
            nn.init.uniform_(param, -0.3, 0.3, generator=generator)
        elif param.ndim == 1:  # norms and biases
            nn.init.uniform_(param, 0.5, 1.0, generator=generator)
        else:
            bound = (3 / param[0].numel()) ** 0.5
            nn.init.uniform_(param, -bound, bound, generator=generator)
    return model.eval()


def whole(size: str) -> Arch:
    return XXLARGE if size == "xxlarge" else ARCHS[size]


def narrow(size: str) -> Arch:
    """The architecture to compare numbers at: of the large ones an eighth of the channels, with
    every block they have. test_formats_shapes.py holds their full width, on the meta device."""
    arch = whole(size)
    if arch.channels[0] < ARCHS["base"].channels[0]:
        return arch
    return Arch(arch.depths, tuple(width // 8 for width in arch.channels))


def timms(name: str, size: str, full: bool = False) -> nn.Module:
    """timm's model, without values."""
    width = {} if full else {"dims": narrow(size).channels}
    with torch.device("meta"):
        return timm.create_model(name, **width)


def hugging_face(family: str, size: str, full: bool = False, **options: Any) -> nn.Module:
    arch = whole(size) if full else narrow(size)
    config = getattr(transformers, f"{family}Config")
    sizes = dict(depths=list(arch.depths), hidden_sizes=list(arch.channels))
    kind = options.pop("kind", "Model")
    return getattr(transformers, f"{family}{kind}")(config(**sizes, **options))
