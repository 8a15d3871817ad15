_base_ = "mmseg::_base_/models/upernet_r50.py"

# ConvNeXt-T as the authors fine-tune it: layer scale starts at 1, drop path 0.4, non-EMA weights.
# Crops are 512x512, in training and for the sliding test; windows overlap by a third.
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type="mmconvnext.ConvNeXt",
        arch="tiny",
        drop_path_rate=0.4,
        layer_scale_init_value=1.0,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://dl.fbaipublicfiles.com/convnext/convnext_tiny_1k_224.pth",
        ),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768], num_classes=150),
    auxiliary_head=dict(in_channels=384, num_classes=150),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
