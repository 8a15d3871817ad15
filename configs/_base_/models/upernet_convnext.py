_base_ = ["mmseg::_base_/models/upernet_r50.py", "./convnext_t.py"]

# Crops are 512x512, in training and for the sliding test; windows overlap by a third.
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(_delete_=True, **_base_.convnext_t),
    # mmseg's head, computed cheaper; itself: --cfg-options model.decode_head.type=UPerHead
    decode_head=dict(
        type="mmconvnext.FastUPerHead", in_channels=_base_.stage_channels.tiny, num_classes=150
    ),
    auxiliary_head=dict(in_channels=_base_.stage_channels.tiny[2], num_classes=150),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
