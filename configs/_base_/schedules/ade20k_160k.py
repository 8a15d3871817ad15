# AdamW over 160,000 iterations, the rate falling linearly to 0, linear warm-up over 1,500 from
# a millionth.
train_cfg = dict(type="IterBasedTrainLoop", max_iters=160000, val_interval=16000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

param_scheduler = [
    # Both run from the start: the authors' warm-up multiplies the falling rate. `end` is one more
    # than the iterations meant: mmengine reaches a scheduler's last value at `end - 1`.
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1501),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=160001),
]

optim_wrapper = dict(
    type="AmpOptimWrapper",
    constructor="mmconvnext.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(decay_rate=0.9, decay_type="stage_wise"),
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
)
