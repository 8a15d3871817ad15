_base_ = "./upernet_convnext.py"

# Crops of 640x640, in training and for the sliding test.
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    test_cfg=dict(crop_size=(640, 640), stride=(426, 426)),
)
