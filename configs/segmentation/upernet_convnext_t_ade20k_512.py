_base_ = [
    "../_base_/models/upernet_convnext.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/ade20k_160k.py",
    "../_base_/segmentation_runtime.py",
]

# UperNet, ConvNeXt-T, ImageNet-1K, 512x512: published mIoU 46.0, multi-scale and flipped 46.7.
# The base files state this row.
