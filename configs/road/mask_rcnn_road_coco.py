_base_ = ["../detection/mask_rcnn_convnext_t_coco.py", "../_base_/models/road_net.py"]

# Mask R-CNN with the networks between ResNet-50 and ConvNeXt-T; model.backbone.regime=resnet200
# for those between ResNet-200 and ConvNeXt-B.
model = dict(backbone=dict(_delete_=True, **_base_.road_net))
