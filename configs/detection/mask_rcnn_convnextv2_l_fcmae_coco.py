_base_ = "./mask_rcnn_convnextv2_b_fcmae_coco.py"

# Mask R-CNN, ConvNeXt V2-L, FCMAE: published box/mask AP 54.4/47.7, batch 32. Drop path and decay
# are chosen, within the published sweeps.
model = dict(
    backbone=dict(
        arch="large", drop_path_rate=0.5, init_cfg=dict(checkpoint="convnextv2_large_1k_224_fcmae")
    ),
    neck=dict(in_channels=_base_.stage_channels.large),
)
