_base_ = [
    "../_base_/models/cascade_mask_rcnn_convnext.py",
    "../_base_/datasets/coco_instance.py",
    "../_base_/schedules/coco_36_epochs.py",
    "../_base_/detection_runtime.py",
]

# Cascade Mask R-CNN, ConvNeXt-T, ImageNet-1K: published box/mask AP 50.4/43.7.
# The base files state this row.
