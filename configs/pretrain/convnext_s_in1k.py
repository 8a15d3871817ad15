_base_ = "./convnext_t_in1k.py"

# ConvNeXt-S from random weights on ImageNet-1K, 224x224: published top-1 83.1
model = dict(backbone=dict(arch="small", drop_path_rate=0.4))
