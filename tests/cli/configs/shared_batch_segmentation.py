# The recipe on made-up pictures, small, and without anything random: how a batch is divided among
# processes is then all that two runs may differ in.
_base_ = "../../../configs/segmentation/upernet_convnext_t_ade20k_512.py"

channels = [8, 16, 32, 64]
norm_cfg = dict(type="GN", num_groups=4)  # statistics of one picture each, unlike BatchNorm's
head = dict(channels=16, num_classes=4, norm_cfg=norm_cfg, dropout_ratio=0.0)
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(
        _delete_=True,
        type="mmconvnext.ConvNeXt",
        arch=dict(depths=[1, 1, 1, 1], channels=channels),
        layer_scale_init_value=1.0,
    ),
    decode_head=dict(in_channels=channels, **head),
    auxiliary_head=dict(in_channels=channels[2], **head),
)
dataset = dict(
    type="BaseSegDataset",
    data_root="data/made_up",
    metainfo=dict(classes=("background", "circle", "square", "triangle")),
    data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
    img_suffix=".png",
    reduce_zero_label=True,
    pipeline=[
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", reduce_zero_label=True),
        dict(type="PackSegInputs"),
    ],
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    # Process r of n takes pictures r, r + n, r + 2n, …: together those that one process would.
    sampler=dict(type="InfiniteSampler", shuffle=False),
    dataset=dict(_delete_=True, **dataset),
)
val_cfg = val_dataloader = val_evaluator = None
test_cfg = test_dataloader = test_evaluator = None
param_scheduler = []
# AdamW's step is rate * mean / (root of mean square + eps). With eps=1e-8 the first steps are the
# gradient's sign, and where it is near zero rounding decides that. With an eps above such gradients
# a step follows them: at most rate / eps = 10 times as far apart as the gradients are.
optim_wrapper = dict(optimizer=dict(lr=1e-2, eps=1e-3))
