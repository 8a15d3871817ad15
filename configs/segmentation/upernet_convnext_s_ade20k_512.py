_base_ = "./upernet_convnext_t_ade20k_512.py"

# UperNet, ConvNeXt-S, ImageNet-1K, 512x512: published mIoU 48.7, multi-scale and flipped 49.6
model = dict(
    backbone=dict(
        arch="small", drop_path_rate=0.3, init_cfg=dict(checkpoint="convnext_small_1k_224")
    ),
)
