_base_ = "./convnext_t_in1k.py"

# ConvNeXt-B from random weights on ImageNet-1K, 224x224: published top-1 83.8
model = dict(
    backbone=dict(arch="base", drop_path_rate=0.5), in_channels=_base_.stage_channels.base[-1]
)
