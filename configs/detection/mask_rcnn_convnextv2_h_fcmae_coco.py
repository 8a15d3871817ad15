_base_ = "./mask_rcnn_convnextv2_b_fcmae_coco.py"

# Mask R-CNN, ConvNeXt V2-H, FCMAE: published box/mask AP 55.7/48.9, batch 32. Drop path and decay
# are chosen, within the published sweeps.
model = dict(
    backbone=dict(
        arch="huge", drop_path_rate=0.5, init_cfg=dict(checkpoint="convnextv2_huge_1k_224_fcmae")
    ),
    neck=dict(in_channels=_base_.stage_channels.huge),
)
