_base_ = "./upernet_convnextv2_b_ade20k_512.py"

# UperNet, ConvNeXt V2-L, FCMAE then ImageNet-1K, 512x512: published multi-scale mIoU 53.7.
# Rate, decay and drop path are chosen, within the published sweeps.
model = dict(
    backbone=dict(arch="large", init_cfg=dict(checkpoint="convnextv2_large_1k_224_ema")),
    decode_head=dict(in_channels=_base_.stage_channels.large),
    auxiliary_head=dict(in_channels=_base_.stage_channels.large[2]),
)
