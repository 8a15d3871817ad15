_base_ = "./upernet_convnext_l_in22k_ade20k_640.py"

# UperNet, ConvNeXt-XL, ImageNet-22K, 640x640: published mIoU 53.6, multi-scale and flipped 54.0
model = dict(
    backbone=dict(arch="xlarge", init_cfg=dict(checkpoint="convnext_xlarge_22k_224")),
    decode_head=dict(in_channels=_base_.stage_channels.xlarge),
    auxiliary_head=dict(in_channels=_base_.stage_channels.xlarge[2]),
)
optim_wrapper = dict(optimizer=dict(lr=8e-5))
