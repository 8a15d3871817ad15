# AdamW over 36 epochs, x0.1 after 27 and 33, linear warm-up over 500 iterations from a thousandth.
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=36, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

param_scheduler = [
    # `end` is one more than the iterations of warm-up: mmengine reaches the full rate at `end - 1`.
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=501),
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=36, milestones=[27, 33], gamma=0.1),
]

optim_wrapper = dict(
    type="AmpOptimWrapper",
    constructor="mmconvnext.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(decay_rate=0.7, decay_type="layer_wise"),
    optimizer=dict(type="AdamW", lr=2e-4, betas=(0.9, 0.999), weight_decay=0.05),
)
