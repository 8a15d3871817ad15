# The smallest whole config of its kind; its data come by --data-root.
_base_ = ["mmdet::_base_/models/faster-rcnn_r50_fpn.py", "mmdet::_base_/default_runtime.py"]
model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(
        _delete_=True,
        type="mmconvnext.ConvNeXt",
        arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 32, 64]),
    ),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16, norm_cfg=dict(type="SyncBN")),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=16, num_classes=3),
    ),
    test_cfg=dict(rcnn=dict(score_thr=0.0, max_per_img=5)),
)
data_root = "data/made_up"
metainfo = dict(classes=("circle", "square", "triangle"))
pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(64, 64)),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="RepeatDataset",
        times=1,
        dataset=dict(
            type="CocoDataset",
            data_root=data_root,
            metainfo=metainfo,
            pipeline=pipeline,
            ann_file="annotations/instances_train.json",
            data_prefix=dict(img="images/train/"),
        ),
    ),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CocoDataset",
        data_root=data_root,
        metainfo=metainfo,
        pipeline=pipeline,
        test_mode=True,
        ann_file="annotations/instances_val.json",
        data_prefix=dict(img="images/val/"),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type="CocoMetric", ann_file=data_root + "/annotations/instances_val.json", metric="bbox"
)
test_evaluator = val_evaluator
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=1)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=1, milestones=[1], gamma=0.1),
]
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="AmpOptimWrapper", loss_scale="dynamic", optimizer=dict(type="AdamW", lr=1e-3)
)
auto_scale_lr = dict(base_batch_size=16, enable=False)
