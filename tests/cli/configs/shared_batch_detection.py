# FCOS on made-up pictures; otherwise as shared_batch_segmentation.py. Not the Mask R-CNNs: they
# draw RoIs at random, and each process divides its losses by its own number of RoIs, so that two
# processes' mean is not the double batch's loss. FCOS divides by the mean over all processes.
_base_ = "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py"
custom_imports = dict(imports=["mmconvnext"], allow_failed_imports=False)

model = dict(
    data_preprocessor=dict(mean=[60.0] * 3, std=[60.0] * 3),
    backbone=dict(
        _delete_=True,
        type="mmconvnext.ConvNeXt",
        arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 32, 64]),
        layer_scale_init_value=1.0,
        # FPN would leave out stage 0's output: its norm would have no gradient, a thing that
        # DistributedDataParallel stops at.
        out_indices=(1, 2, 3),
    ),
    neck=dict(in_channels=[16, 32, 64], out_channels=32, start_level=0, num_outs=3),
    bbox_head=dict(
        num_classes=3,
        in_channels=32,
        feat_channels=32,
        stacked_convs=1,
        strides=[8, 16, 32],
        regress_ranges=((-1, 16), (16, 32), (32, 1e8)),
    ),
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    batch_sampler=None,
    dataset=dict(
        _delete_=True,
        type="CocoDataset",
        data_root="data/made_up",
        metainfo=dict(classes=("circle", "square", "triangle")),
        ann_file="annotations/instances_train.json",
        data_prefix=dict(img="images/train/"),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="PackDetInputs", meta_keys=("img_path", "ori_shape", "img_shape")),
        ],
    ),
)
val_cfg = val_dataloader = val_evaluator = None
test_cfg = test_dataloader = test_evaluator = None
param_scheduler = []
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    constructor="mmconvnext.LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(decay_rate=0.7, decay_type="layer_wise"),
    optimizer=dict(type="AdamW", lr=1e-2, eps=1e-3, weight_decay=0.05),
)
