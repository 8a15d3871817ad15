_base_ = [
    "../_base_/models/upernet_convnext_640.py",
    "../_base_/datasets/ade20k_640.py",
    "../_base_/schedules/ade20k_160k.py",
    "../_base_/segmentation_runtime.py",
]

# UperNet, ConvNeXt-B, ImageNet-22K, 640x640: published mIoU 52.6, multi-scale and flipped 53.1
model = dict(
    backbone=dict(arch="base", init_cfg=dict(checkpoint="convnext_base_22k_224")),
    decode_head=dict(in_channels=_base_.stage_channels.base),
    auxiliary_head=dict(in_channels=_base_.stage_channels.base[2]),
)
