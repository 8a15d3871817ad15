_base_ = "./upernet_convnext_b_ade20k_512.py"

# UperNet, ConvNeXt-B, DINOv3, 512x512: nothing published; rates and drop path chosen, as for
# ConvNeXt-B.
model = dict(
    backbone=dict(init_cfg=dict(checkpoint="dinov3_convnext_base")),
)
