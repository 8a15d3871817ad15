_base_ = "mmseg::_base_/datasets/ade20k_640x640.py"

# mmsegmentation's ADE20K pipelines for 640x640 crops are the authors'; per GPU they take 2 images.
train_dataloader = dict(batch_size=2)
