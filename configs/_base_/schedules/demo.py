_base_ = "../runtime.py"

# From random weights, in a few minutes on two CPU cores: plain fp32, a high rate, and a quickly
# fading memory of squared gradients. A recipe adds how long it trains.
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

optim_wrapper = dict(
    type="OptimWrapper",
    constructor="mmconvnext.LayerDecayOptimWrapperConstructor",
    # Nothing is pre-trained here: lower layers need nearly the full rate.
    paramwise_cfg=dict(decay_rate=0.95, decay_type="stage_wise"),
    optimizer=dict(type="AdamW", lr=2e-3, betas=(0.9, 0.99), weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)

default_hooks = dict(
    logger=dict(type="LoggerHook", interval=20, log_metric_by_epoch=False),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=1000),
)
log_processor = dict(type="LogProcessor", window_size=20, by_epoch=False)
# The progress bar says what there is to say; the whole config lies in vis_data/config.py.
custom_hooks = [dict(type="mmconvnext.ProgressBarHook", interval=20)]
log_level = "WARNING"
randomness = dict(seed=0)
