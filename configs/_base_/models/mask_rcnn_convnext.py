_base_ = ["mmdet::_base_/models/mask-rcnn_r50_fpn.py", "./convnext_t.py"]

model = dict(
    backbone=dict(_delete_=True, **_base_.convnext_t),
    neck=dict(in_channels=_base_.stage_channels.tiny),
)
