_base_ = "./cascade_convnext_t_coco.py"

# Cascade Mask R-CNN, ConvNeXt-S, ImageNet-1K: published box/mask AP 51.9/45.0
model = dict(
    backbone=dict(
        arch="small", drop_path_rate=0.6, init_cfg=dict(checkpoint="convnext_small_1k_224")
    ),
)
