_base_ = "./cascade_convnext_b_coco.py"

# Cascade Mask R-CNN, ConvNeXt-B, ImageNet-22K: published box/mask AP 54.0/46.9
model = dict(
    backbone=dict(drop_path_rate=0.6, init_cfg=dict(checkpoint="convnext_base_22k_224")),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
