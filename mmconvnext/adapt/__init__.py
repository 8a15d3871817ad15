"""A ConvNeXt in place of another backbone, in any config of mmdet or mmseg."""

from mmconvnext.adapt.adapting import Adapted, with_convnext
from mmconvnext.adapt.errors import AdaptError
from mmconvnext.adapt.names import BACKBONES

__all__ = ["BACKBONES", "AdaptError", "Adapted", "with_convnext"]
