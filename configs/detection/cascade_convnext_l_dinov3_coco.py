_base_ = "./cascade_convnext_l_in22k_coco.py"

# Cascade Mask R-CNN, ConvNeXt-L, DINOv3: nothing published; rates and drop path chosen, as for
# ConvNeXt-L with ImageNet-22K weights.
model = dict(
    backbone=dict(init_cfg=dict(checkpoint="dinov3_convnext_large")),
)
