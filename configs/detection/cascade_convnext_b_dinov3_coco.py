_base_ = "./cascade_convnext_b_in22k_coco.py"

# Cascade Mask R-CNN, ConvNeXt-B, DINOv3: nothing published; rates and drop path chosen, as for
# ConvNeXt-B with ImageNet-22K weights.
model = dict(
    backbone=dict(init_cfg=dict(checkpoint="dinov3_convnext_base")),
)
