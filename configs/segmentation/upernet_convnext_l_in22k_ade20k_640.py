_base_ = "./upernet_convnext_b_in22k_ade20k_640.py"

# UperNet, ConvNeXt-L, ImageNet-22K, 640x640: published mIoU 53.2, multi-scale and flipped 53.7
model = dict(
    backbone=dict(arch="large", init_cfg=dict(checkpoint="convnext_large_22k_224")),
    decode_head=dict(in_channels=_base_.stage_channels.large),
    auxiliary_head=dict(in_channels=_base_.stage_channels.large[2]),
)
# L and XL were trained in single precision.
optim_wrapper = dict(type="OptimWrapper")
