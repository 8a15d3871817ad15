_base_ = "./convnext_t_in1k.py"

# ConvNeXt-L from random weights on ImageNet-1K, 224x224: published top-1 84.3
model = dict(
    backbone=dict(arch="large", drop_path_rate=0.5), in_channels=_base_.stage_channels.large[-1]
)
