_base_ = "./cascade_convnext_s_coco.py"

# Cascade Mask R-CNN, ConvNeXt-S, DINOv3: nothing published; rates and drop path chosen, as for
# ConvNeXt-S.
model = dict(
    backbone=dict(init_cfg=dict(checkpoint="dinov3_convnext_small")),
)
