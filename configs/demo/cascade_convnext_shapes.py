_base_ = [
    "../_base_/models/cascade_mask_rcnn_convnext.py",
    "../_base_/datasets/shapes_coco.py",
    "../_base_/schedules/demo.py",
]
default_scope = "mmdet"
visualizer = dict(
    type="DetLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")], name="visualizer"
)

# The detection recipe made small: a network of 1.4 million weights, 64 channels in neck and heads,
# 32 RoIs a picture, one anchor a place, and one sample a RoI bin. The box heads are those of the
# original Cascade R-CNN: from random weights they learn faster than the recipe's.
num_classes = 3
channels = 64
arch = dict(depths=[2, 2, 4, 2], channels=[32, 64, 128, 192])

model = dict(
    backbone=dict(_delete_=True, type="mmconvnext.ConvNeXt", arch=arch, layer_scale_init_value=1.0),
    neck=dict(in_channels=arch["channels"], out_channels=channels, num_outs=4),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[4], ratios=[1.0], strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=1), out_channels=channels, finest_scale=28
        ),
        bbox_head=[
            dict(
                type="Shared2FCBBoxHead",
                in_channels=channels,
                fc_out_channels=128,
                roi_feat_size=7,
                num_classes=num_classes,
                bbox_coder=dict(
                    type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=target_stds
                ),
                reg_class_agnostic=True,
                loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type="SmoothL1Loss", beta=1.0, loss_weight=1.0),
            )
            for target_stds in (
                [0.1, 0.1, 0.2, 0.2],
                [0.05, 0.05, 0.1, 0.1],
                [0.033, 0.033, 0.067, 0.067],
            )
        ],
        mask_roi_extractor=dict(
            roi_layer=dict(sampling_ratio=1), out_channels=channels, finest_scale=28
        ),
        mask_head=dict(
            num_convs=2, in_channels=channels, conv_out_channels=channels, num_classes=num_classes
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=64),
        rcnn=[
            dict(
                assigner=dict(
                    type="MaxIoUAssigner",
                    pos_iou_thr=overlap,
                    neg_iou_thr=overlap,
                    min_pos_iou=overlap,
                    match_low_quality=False,
                    ignore_iof_thr=-1,
                ),
                sampler=dict(
                    type="RandomSampler",
                    num=32,
                    pos_fraction=0.25,
                    neg_pos_ub=-1,
                    add_gt_as_proposals=True,
                ),
                mask_size=28,
                pos_weight=-1,
                debug=False,
            )
            for overlap in (0.5, 0.6, 0.7)
        ],
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=50), rcnn=dict(max_per_img=20)),
)

max_iters = 120
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters // 3)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(type="CosineAnnealingLR", eta_min_ratio=0.01, by_epoch=False, begin=40, end=max_iters),
]
