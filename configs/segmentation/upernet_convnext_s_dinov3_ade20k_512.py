_base_ = "./upernet_convnext_s_ade20k_512.py"

# UperNet, ConvNeXt-S, DINOv3, 512x512: nothing published; rates and drop path chosen, as for
# ConvNeXt-S.
model = dict(
    backbone=dict(init_cfg=dict(checkpoint="dinov3_convnext_small")),
)
