_base_ = "./stage_channels.py"

# ConvNeXt-T as the authors fine-tune it: layer scale starts at 1, drop path 0.4, non-EMA weights.
convnext_t = dict(
    type="mmconvnext.ConvNeXt",
    arch="tiny",
    drop_path_rate=0.4,
    layer_scale_init_value=1.0,
    init_cfg=dict(type="Pretrained", checkpoint="convnext_tiny_1k_224"),
)
