"""A ConvNeXt in place of another backbone, in any config of mmdet or mmseg."""

from mmconvnext.adapt.adapting import Adapted, with_convnext
from mmconvnext.adapt.errors import AdaptError
from mmconvnext.adapt.names import BACKBONES
from mmconvnext.adapt.road import with_road_step

__all__ = ["BACKBONES", "AdaptError", "Adapted", "with_convnext", "with_road_step"]
