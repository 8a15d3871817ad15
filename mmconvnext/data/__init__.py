"""Made-up sample data in the layouts of COCO and ADE20K."""

from __future__ import annotations

from mmconvnext.data.shapes import ShapesSpec, make_ade_shapes, make_coco_shapes

__all__ = ["ShapesSpec", "make_ade_shapes", "make_coco_shapes"]
