_base_ = "./upernet_convnextv2_b_ade20k_512.py"

# UperNet, ConvNeXt V2-H, FCMAE then ImageNet-1K, 512x512: published multi-scale mIoU 55.0.
# Rate, decay and drop path are chosen, within the published sweeps.
model = dict(
    backbone=dict(arch="huge", init_cfg=dict(checkpoint="convnextv2_huge_1k_224_ema")),
    decode_head=dict(in_channels=_base_.stage_channels.huge),
    auxiliary_head=dict(in_channels=_base_.stage_channels.huge[2]),
)
