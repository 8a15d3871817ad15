"""The network: ConvNeXt V1 and V2 as a pyramid backbone."""

from mmconvnext.backbones.convnext import ConvNeXt

__all__ = ["ConvNeXt"]
