_base_ = "mmdet::_base_/datasets/coco_instance.py"

# Steps with this in front give what mmdet's of the same names give, to the bit, sooner. Without it
# ("fast = ''" here and in coco_instance_lsj.py) they are mmdet's own.
fast = "mmconvnext.data.fast.detection."

# The authors' augmentation: flip, then one of DETR's two ways to a shorter side of 480…800 pixels.
short_sides = [(side, 1333) for side in range(480, 801, 32)]
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type=fast + "LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type=fast + "RandomFlip", prob=0.5),
    dict(
        type="RandomChoice",
        transforms=[
            [dict(type="RandomChoiceResize", scales=short_sides, keep_ratio=True)],
            [
                dict(
                    type="RandomChoiceResize",
                    scales=[(400, 1333), (500, 1333), (600, 1333)],
                    keep_ratio=True,
                ),
                dict(
                    type="RandomCrop",
                    crop_type="absolute_range",
                    crop_size=(384, 600),
                    allow_negative_crop=True,
                ),
                dict(type="RandomChoiceResize", scales=short_sides, keep_ratio=True),
            ],
        ],
    ),
    dict(type=fast + "PackDetInputs"),
]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))

# The same figures as mmdet's own, several times as fast. Its own: --cfg-options
# val_evaluator.type=CocoMetric test_evaluator.type=CocoMetric
val_evaluator = dict(type="mmconvnext.FastCocoMetric")
test_evaluator = dict(type="mmconvnext.FastCocoMetric")

# With --tta: three sizes, each flipped and not. Annotations are read last: they stay as they are.
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="TestTimeAug",
        transforms=[
            [
                dict(type="Resize", scale=scale, keep_ratio=True)
                for scale in ((1000, 600), (1333, 800), (1667, 1000))
            ],
            [dict(type="RandomFlip", prob=probability) for probability in (0.0, 1.0)],
            [dict(type="LoadAnnotations", with_bbox=True, with_mask=True)],
            [dict(type="PackDetInputs")],
        ],
    ),
]
