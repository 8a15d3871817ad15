_base_ = "./upernet_convnext_t_ade20k_512.py"

# UperNet, ConvNeXt-T, DINOv3, 512x512: nothing published; rates and drop path chosen, as for
# ConvNeXt-T.
model = dict(
    backbone=dict(init_cfg=dict(checkpoint="dinov3_convnext_tiny")),
)
