"""The networks: ConvNeXt V1 and V2, and what lies between ResNet and it, as pyramid backbones."""

from mmconvnext.backbones.convnext import ConvNeXt
from mmconvnext.backbones.road import RoadNet

__all__ = ["ConvNeXt", "RoadNet"]
