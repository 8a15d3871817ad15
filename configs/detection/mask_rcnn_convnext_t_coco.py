_base_ = [
    "../_base_/models/mask_rcnn_convnext.py",
    "../_base_/datasets/coco_instance.py",
    "../_base_/schedules/coco_36_epochs.py",
    "../_base_/detection_runtime.py",
]

# Mask R-CNN, ConvNeXt-T, ImageNet-1K: published box/mask AP 46.2/41.7
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(decay_rate=0.95))
