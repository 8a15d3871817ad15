_base_ = "./cascade_convnext_l_in22k_coco.py"

# Cascade Mask R-CNN, ConvNeXt-XL, ImageNet-22K: published box/mask AP 55.2/47.7
model = dict(
    backbone=dict(
        arch="xlarge", drop_path_rate=0.8, init_cfg=dict(checkpoint="convnext_xlarge_22k_224")
    ),
    neck=dict(in_channels=_base_.stage_channels.xlarge),
)
