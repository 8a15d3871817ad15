# The smallest whole config of its kind; its data come by --data-root.
_base_ = ["mmseg::_base_/models/fcn_r50-d8.py", "mmseg::_base_/default_runtime.py"]
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type="mmconvnext.ConvNeXt",
        arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 32, 64]),
    ),
    decode_head=dict(in_channels=64, channels=8, num_convs=1, num_classes=4),
    auxiliary_head=dict(in_channels=32, channels=8, num_classes=4),
)
data_root = "data/made_up"
metainfo = dict(
    classes=("background", "circle", "square", "triangle"),
    palette=[[90] * 3, [230] * 3, [60] * 3, [0] * 3],
)
pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="PackSegInputs"),
]
dataset = dict(
    type="BaseSegDataset",
    data_root=data_root,
    metainfo=metainfo,
    pipeline=pipeline,
    reduce_zero_label=True,
    img_suffix=".png",
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"), **dataset
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        **dataset,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
train_cfg = dict(type="IterBasedTrainLoop", max_iters=160, val_interval=80)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=15),
    dict(type="PolyLR", eta_min=0.0, power=1.0, by_epoch=False, begin=0, end=161),
]
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="AmpOptimWrapper", loss_scale="dynamic", optimizer=dict(type="AdamW", lr=1e-3)
)
auto_scale_lr = dict(base_batch_size=16, enable=False)
