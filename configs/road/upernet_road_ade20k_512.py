_base_ = ["../segmentation/upernet_convnext_t_ade20k_512.py", "../_base_/models/road_net.py"]

# UperNet with the networks between ResNet-50 and ConvNeXt-T; model.backbone.regime=resnet200 for
# those between ResNet-200 and ConvNeXt-B.
model = dict(backbone=dict(_delete_=True, **_base_.road_net))
