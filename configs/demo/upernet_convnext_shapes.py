_base_ = [
    "../_base_/models/upernet_convnext.py",
    "../_base_/demo_shapes_ade.py",
    "../_base_/demo_runtime.py",
]
default_scope = "mmseg"
visualizer = dict(
    type="SegLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")], name="visualizer"
)

# The segmentation recipe made small: a network of 1.4 million weights and heads of 64 channels.
num_classes = 4
channels = 64
arch = dict(depths=[2, 2, 4, 2], channels=[32, 64, 128, 192])
norm_cfg = dict(type="BN", requires_grad=True)

model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(_delete_=True, type="mmconvnext.ConvNeXt", arch=arch, layer_scale_init_value=1.0),
    decode_head=dict(
        in_channels=arch["channels"],
        channels=channels,
        num_classes=num_classes,
        norm_cfg=norm_cfg,
    ),
    auxiliary_head=dict(
        in_channels=arch["channels"][2],
        channels=channels,
        num_classes=num_classes,
        norm_cfg=norm_cfg,
    ),
    test_cfg=dict(_delete_=True, mode="whole"),
)
