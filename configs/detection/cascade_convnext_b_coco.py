_base_ = "./cascade_convnext_t_coco.py"

# Cascade Mask R-CNN, ConvNeXt-B, ImageNet-1K: published box/mask AP 52.7/45.6
model = dict(
    backbone=dict(
        arch="base", drop_path_rate=0.7, init_cfg=dict(checkpoint="convnext_base_1k_224")
    ),
    neck=dict(in_channels=_base_.stage_channels.base),
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=0.8))
