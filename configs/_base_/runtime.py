# What every recipe shares, detection and segmentation alike.
custom_imports = dict(imports=["mmconvnext"], allow_failed_imports=False)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
log_level = "INFO"
load_from = None
resume = False

# The authors trained V1 on 8 GPUs with 2 images each: from there --auto-scale-lr scales.
auto_scale_lr = dict(base_batch_size=16, enable=False)
