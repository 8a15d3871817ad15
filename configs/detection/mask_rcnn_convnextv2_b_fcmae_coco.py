_base_ = [
    "../_base_/models/mask_rcnn_convnextv2.py",
    "../_base_/datasets/coco_instance_lsj.py",
    "../_base_/schedules/coco_36_epochs.py",
    "../_base_/detection_runtime.py",
]

# Mask R-CNN, ConvNeXt V2-B, FCMAE: published box/mask AP 52.9/46.6, batch 32. Drop path and decay
# are chosen, within the published sweeps (0.2 to 0.5; 0.9 or 0.95).
model = dict(
    backbone=dict(
        arch="base",
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint="convnextv2_base_1k_224_fcmae"),
    ),
    neck=dict(in_channels=_base_.stage_channels.base),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(decay_rate=0.95))
auto_scale_lr = dict(base_batch_size=32)
