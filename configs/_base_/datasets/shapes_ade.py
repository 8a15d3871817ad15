# Made-up shapes with semantic maps; mmconvnext.data.make_ade_shapes writes them.
# As in ADE20K, 0 in a map means "not labelled" and counts nowhere.
data_root = "work_dirs/demo/data/ade/"
metainfo = dict(
    classes=("background", "circle", "square", "triangle"),
    palette=[(90, 90, 90), (230, 80, 60), (60, 160, 230), (240, 190, 50)],
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="BaseSegDataset",
        metainfo=metainfo,
        data_root=data_root,
        data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
        img_suffix=".png",
        reduce_zero_label=True,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=10,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="BaseSegDataset",
        metainfo=metainfo,
        data_root=data_root,
        data_prefix=dict(img_path="images/validation", seg_map_path="annotations/validation"),
        img_suffix=".png",
        reduce_zero_label=True,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
# mmseg's own: --cfg-options val_evaluator.type=IoUMetric test_evaluator.type=IoUMetric
val_evaluator = dict(type="mmconvnext.FastIoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
