# Made-up shapes, a folder a class; mmconvnext.data.make_class_shapes writes them.
_base_ = "./class_folders.py"
data_root = "work_dirs/demo/data/classes/"
to_tensor = [
    dict(type="ToImage"),
    dict(type="ToDtype", dtype="float32", scale=True),
    dict(type="Normalize", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
]
train_pipeline = [
    dict(type="mmconvnext.LoadRGB"),
    dict(
        type="mmconvnext.Torchvision",
        transforms=[
            dict(type="RandomHorizontalFlip"),
            *to_tensor,
            dict(type="RandomErasing", p=0.25, scale=(0.02, 0.1), value="random"),
        ],
    ),
    dict(type="mmconvnext.PackClass"),
]
test_pipeline = [
    dict(type="mmconvnext.LoadRGB"),
    dict(type="mmconvnext.Torchvision", transforms=to_tensor),
    dict(type="mmconvnext.PackClass"),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type="InfiniteSampler"),
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
