_base_ = "./mask_rcnn_convnext.py"

# V2: GRN instead of layer scale. Batches are padded to the jittered size, boxes chosen by soft NMS
# (V2 paper, appendix A.3).
model = dict(
    data_preprocessor=dict(
        batch_augments=[dict(type="BatchFixedSizePad", size=(1024, 1024), pad_mask=True)]
    ),
    backbone=dict(use_grn=True, layer_scale_init_value=0.0),
    test_cfg=dict(rcnn=dict(nms=dict(type="soft_nms"))),
)
