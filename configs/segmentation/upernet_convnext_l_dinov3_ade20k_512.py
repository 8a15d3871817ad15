_base_ = "./upernet_convnext_t_ade20k_512.py"

# UperNet, ConvNeXt-L, DINOv3, 512x512: nothing published; rates and drop path chosen, as for
# ConvNeXt-L with ImageNet-22K weights.
model = dict(
    backbone=dict(arch="large", init_cfg=dict(checkpoint="dinov3_convnext_large")),
    decode_head=dict(in_channels=_base_.stage_channels.large),
    auxiliary_head=dict(in_channels=_base_.stage_channels.large[2]),
)
# In single precision, too.
optim_wrapper = dict(type="OptimWrapper")
