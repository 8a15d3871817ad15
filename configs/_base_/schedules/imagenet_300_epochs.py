# AdamW over 300 epochs at batch 4,096: linear warm-up over 20 epochs, then a cosine to 0. Vectors
# (biases, norms, layer scale) have no weight decay; every layer has the same rate.
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=300, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, begin=0, end=20, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=0.0, begin=20, end=300, convert_to_iter_based=True),
]

optim_wrapper = dict(
    type="OptimWrapper",  # --amp: in mixed precision, which the authors did without
    constructor="mmconvnext.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(decay_rate=1.0),
    optimizer=dict(type="AdamW", lr=4e-3, betas=(0.9, 0.999), weight_decay=0.05),
)
