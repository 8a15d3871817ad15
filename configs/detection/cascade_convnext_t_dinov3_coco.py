_base_ = "./cascade_convnext_t_coco.py"

# Cascade Mask R-CNN, ConvNeXt-T, DINOv3: nothing published; rates and drop path chosen, as for
# ConvNeXt-T.
model = dict(
    backbone=dict(init_cfg=dict(checkpoint="dinov3_convnext_tiny")),
)
