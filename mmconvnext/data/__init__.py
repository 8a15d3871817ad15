"""Made-up sample data in the layouts of COCO, ADE20K and ImageNet."""

from __future__ import annotations

from mmconvnext.data.class_shapes import make_class_shapes
from mmconvnext.data.shapes import ShapesSpec, make_ade_shapes, make_coco_shapes

__all__ = ["ShapesSpec", "make_ade_shapes", "make_class_shapes", "make_coco_shapes"]
