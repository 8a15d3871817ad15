"""The weights of other packages' models at their full width: names and shapes, no values."""

from __future__ import annotations

import pytest
import torch
from sample_peers import DINOV3, HUGGING_FACE, TIMM_NAMES, hugging_face, timms, whole
from torch import nn

from mmconvnext import ConvNeXt
from mmconvnext.backbones.archs import Arch
from mmconvnext.checkpoints.loading import convert_backbone


def check_shapes(model: nn.Module, arch: Arch, use_grn: bool) -> None:
    """``model``'s weights, on the meta device, are those of our network of that size."""
    with torch.device("meta"):
        net = ConvNeXt(arch._asdict(), use_grn=use_grn)
    found = convert_backbone(model.state_dict(), None, type(model).__name__).weights
    expected = {key: value.shape for key, value in net.state_dict().items()}
    here = {key: value.shape for key, value in found.items()}
    assert here == {key: shape for key, shape in expected.items() if key in here}
    missing = expected.keys() - here.keys()
    assert all(key.startswith("norm") for key in missing) and len(missing) in (6, 8)


@pytest.mark.parametrize("name", TIMM_NAMES)
def test_timms_shapes(name: str) -> None:
    size = name.rpartition("_")[2]
    check_shapes(timms(name, size, full=True), whole(size), "v2" in name)


@pytest.mark.parametrize(
    ("family", "size"), [*HUGGING_FACE, *(("DINOv3ConvNext", size) for size in DINOV3)]
)
def test_transformers_shapes(family: str, size: str) -> None:
    with torch.device("meta"):
        model = hugging_face(family, size, full=True)
    check_shapes(model, whole(size), family == "ConvNextV2")
