_base_ = "mmseg::_base_/datasets/ade20k.py"

# mmsegmentation's ADE20K pipelines (512x512 crops) are the authors'; per GPU they take 2 images.
train_dataloader = dict(batch_size=2)
