_base_ = "./upernet_convnext_t_ade20k_512.py"

# UperNet, ConvNeXt-B, ImageNet-1K, 512x512: published mIoU 49.1, multi-scale and flipped 49.9
model = dict(
    backbone=dict(arch="base", init_cfg=dict(checkpoint="convnext_base_1k_224")),
    decode_head=dict(in_channels=_base_.stage_channels.base),
    auxiliary_head=dict(in_channels=_base_.stage_channels.base[2]),
)
