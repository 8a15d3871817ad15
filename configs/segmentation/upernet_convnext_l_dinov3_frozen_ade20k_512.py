_base_ = "./upernet_convnext_l_dinov3_ade20k_512.py"

# UperNet, ConvNeXt-L, DINOv3, frozen, 512x512: nothing published. The output norms still learn.
model = dict(backbone=dict(frozen_stages=4))
