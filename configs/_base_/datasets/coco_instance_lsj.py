_base_ = "./coco_instance.py"

fast = "mmconvnext.data.fast.detection."  # see coco_instance.py

# Large-scale jitter (arXiv:2012.07177): scaled by 0.1 to 2 of 1024 pixels, cropped to 1024x1024;
# the model pads what is smaller. 8 GPUs with 4 images each make the published batch of 32.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type=fast + "LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomResize", scale=(1024, 1024), ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(
        type="RandomCrop",
        crop_type="absolute_range",
        crop_size=(1024, 1024),
        recompute_bbox=True,
        allow_negative_crop=True,
    ),
    dict(type="FilterAnnotations", min_gt_bbox_wh=(1e-2, 1e-2)),
    dict(type=fast + "RandomFlip", prob=0.5),
    dict(type=fast + "PackDetInputs"),
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
