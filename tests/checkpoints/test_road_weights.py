"""Files for the stops of the road from ResNet to ConvNeXt: own ones, any ConvNeXt's, wrong ones."""

from __future__ import annotations

import pytest
import torch
import torchvision
from sample_networks import shaken

from mmconvnext import RoadNet
from mmconvnext.backbones.road_stops import STEPS
from mmconvnext.checkpoints.reading import CheckpointError

SMALL = {"depths": [[1, 2, 2, 1], [1, 1, 4, 1]], "widths": [8, 8, 16]}


@pytest.mark.parametrize("step", STEPS)
def test_own_files_load_from_under_any_prefix(tmp_path, step: str) -> None:
    trained = shaken(RoadNet(step, SMALL))
    weights = {f"backbone.{key}": value for key, value in trained.state_dict().items()}
    torch.save({"state_dict": weights | {"head.weight": torch.ones(3)}}, tmp_path / "a.pth")
    file = {"type": "Pretrained", "checkpoint": str(tmp_path / "a.pth")}
    network = RoadNet(step, SMALL, init_cfg=file)
    network.init_weights()
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, rtol=0, atol=0)
    network = RoadNet(step, SMALL, init_cfg=file | {"prefix": "backbone"})
    network.init_weights()


def test_any_convnexts_file_loads_at_the_last_stop(tmp_path) -> None:
    torchvisions = shaken(torchvision.models.convnext_tiny())
    torch.save(torchvisions.state_dict(), tmp_path / "tiny.pth")
    file = {"type": "Pretrained", "checkpoint": str(tmp_path / "tiny.pth")}
    network = RoadNet(out_indices=3, init_cfg=file)
    network.init_weights()
    x = torch.randn(1, 3072, 2, 2, generator=torch.Generator().manual_seed(7))
    found = network.stages[3][2](network.stages[3][1].pwconv2(x))
    block = torchvisions.features[7]
    x = block[1].block[5](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, block[2](x), rtol=1e-4, atol=1e-4)


def test_another_stops_file_is_refused(tmp_path) -> None:
    torch.save(RoadNet("kernel_5", SMALL).state_dict(), tmp_path / "a.pth")
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")

    def load(step: str, name: str, regime: object = SMALL) -> None:
        file = {"type": "Pretrained", "checkpoint": str(tmp_path / name)}
        RoadNet(step, regime, init_cfg=file).init_weights()

    with pytest.raises(CheckpointError, match=r"another architecture than RoadNet\(step='kernel_7"):
        load("kernel_7", "a.pth")
    with pytest.raises(CheckpointError, match="another architecture than RoadNet"):
        load("resnet", "resnet18.pth", "resnet50")
    with pytest.raises(CheckpointError, match=r"expected the weights of RoadNet\(step='width'\)"):
        load("width", "resnet18.pth")
