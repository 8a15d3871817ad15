_base_ = "./cascade_convnext_t_coco.py"

# Cascade Mask R-CNN, ConvNeXt-L, ImageNet-22K: published box/mask AP 54.8/47.6
model = dict(
    backbone=dict(
        arch="large", drop_path_rate=0.7, init_cfg=dict(checkpoint="convnext_large_22k_224")
    ),
    neck=dict(in_channels=_base_.stage_channels.large),
)
# L and XL were trained in single precision.
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(lr=1e-4))
