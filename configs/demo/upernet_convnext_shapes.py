_base_ = [
    "../_base_/models/upernet_convnext.py",
    "../_base_/datasets/shapes_ade.py",
    "../_base_/schedules/demo.py",
]
default_scope = "mmseg"
visualizer = dict(
    type="SegLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")], name="visualizer"
)

# The segmentation recipe made small: two blocks a stage, and heads of 96 channels.
num_classes = 4
channels = 96
arch = dict(depths=[2, 2, 2, 2], channels=[64, 96, 128, 160])
norm_cfg = dict(type="BN", requires_grad=True)

model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(_delete_=True, type="mmconvnext.ConvNeXt", arch=arch, layer_scale_init_value=1.0),
    decode_head=dict(
        in_channels=arch["channels"],
        channels=channels,
        num_classes=num_classes,
        norm_cfg=norm_cfg,
        dropout_ratio=0.0,
    ),
    auxiliary_head=dict(
        in_channels=arch["channels"][2],
        channels=channels,
        num_classes=num_classes,
        norm_cfg=norm_cfg,
        dropout_ratio=0.0,
    ),
    test_cfg=dict(_delete_=True, mode="whole"),
)

max_iters = 260
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters // 4)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.01, by_epoch=False, begin=40, end=max_iters),
]
