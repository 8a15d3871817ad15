_base_ = [
    "../_base_/models/classifier_convnext.py",
    "../_base_/datasets/shapes_classes.py",
    "../_base_/schedules/demo.py",
]
default_scope = "mmengine"

# The pretraining recipe made small, with the network of the detection demo. In so few steps layer
# scale has to start at 1, mixing batches costs more than it gives (63 instead of 76 % after 300),
# and weights averaged over 10,000 steps would be those of the beginning.
arch = dict(depths=[2, 2, 4, 2], channels=[32, 64, 128, 192])
model = dict(
    backbone=dict(
        _delete_=True,
        type="mmconvnext.ConvNeXt",
        arch=arch,
        layer_scale_init_value=1.0,
        out_indices=3,
        gap_before_final_norm=True,
    ),
    num_classes=3,
    in_channels=arch["channels"][-1],
    mixing=[],
)
optim_wrapper = dict(paramwise_cfg=dict(decay_rate=1.0))

max_iters = 600
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters // 3)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.01, by_epoch=False, begin=40, end=max_iters),
]
