# A folder a class, data_root/{train,val}/CLASS/PICTURE. Who inherits this says where it lies, how
# big the batches are, and how pictures are prepared.
train_dataloader = dict(
    sampler=dict(shuffle=True),
    dataset=dict(type="mmconvnext.ClassFolders", data_prefix=dict(img_path="train")),
)
val_dataloader = dict(
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="mmconvnext.ClassFolders", data_prefix=dict(img_path="val"), test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="mmconvnext.TopAccuracy")
test_evaluator = val_evaluator
