_base_ = "./runtime.py"

default_scope = "mmengine"
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3, save_best="accuracy/top1"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
)
# Validated and saved as `state_dict` are the averaged weights. With optim_wrapper.
# accumulative_counts=N this takes interval=N: it counts batches.
custom_hooks = [dict(type="EMAHook", momentum=1e-4)]
log_processor = dict(type="LogProcessor", window_size=50, by_epoch=True)

# 32 GPUs with 128 pictures each: from there --auto-scale-lr scales.
auto_scale_lr = dict(base_batch_size=4096)
# Each GPU mixes its batch by a draw of its own.
randomness = dict(seed=None, diff_rank_seed=True)
