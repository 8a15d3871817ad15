_base_ = "./stage_channels.py"

# ConvNeXt-T with a linear classifier, from random weights (paper, table 5): layer scale starts at
# 1e-6, drop path 0.1. Each batch is mixed by Mixup or by CutMix.
model = dict(
    type="mmconvnext.ImageClassifier",
    backbone=dict(
        type="mmconvnext.ConvNeXt",
        arch="tiny",
        drop_path_rate=0.1,
        layer_scale_init_value=1e-6,
        out_indices=3,
        gap_before_final_norm=True,
    ),
    num_classes=1000,
    in_channels=_base_.stage_channels.tiny[-1],
    mixing=[dict(type="MixUp", alpha=0.8), dict(type="CutMix", alpha=1.0)],
    label_smoothing=0.1,
    data_preprocessor=dict(type="ImgDataPreprocessor", non_blocking=True),
)
