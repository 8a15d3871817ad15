# ImageNet-1K, or whatever else has a folder a class: data/imagenet/{train,val}/CLASS/PICTURE.
_base_ = "./class_folders.py"
data_root = "data/imagenet/"
mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
to_tensor = [
    dict(type="ToImage"),
    dict(type="ToDtype", dtype="float32", scale=True),
    dict(type="Normalize", mean=mean, std=std),
]
train_pipeline = [
    dict(type="mmconvnext.LoadRGB"),
    dict(
        type="mmconvnext.Torchvision",
        transforms=[
            dict(type="RandomResizedCrop", size=224, interpolation="bicubic"),
            dict(type="RandomHorizontalFlip"),
            # What turns or shifts leaves a rim in ImageNet's mean colour.
            dict(
                type="mmconvnext.RandAugment",
                magnitude=9,
                magnitude_std=0.5,
                interpolation="bicubic",
                fill=[124, 116, 104],
            ),
            *to_tensor,
            dict(type="RandomErasing", p=0.25, value="random"),
        ],
    ),
    dict(type="mmconvnext.PackClass"),
]
test_pipeline = [
    dict(type="mmconvnext.LoadRGB"),
    dict(
        type="mmconvnext.Torchvision",
        transforms=[
            dict(type="Resize", size=256, interpolation="bicubic"),
            dict(type="CenterCrop", size=224),
            *to_tensor,
        ],
    ),
    dict(type="mmconvnext.PackClass"),
]
train_dataloader = dict(
    batch_size=128,
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler"),
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
