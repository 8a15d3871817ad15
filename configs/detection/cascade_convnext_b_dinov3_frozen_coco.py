_base_ = "./cascade_convnext_b_dinov3_coco.py"

# Cascade Mask R-CNN, ConvNeXt-B, DINOv3, frozen: nothing published. The output norms still learn.
model = dict(backbone=dict(frozen_stages=4))
