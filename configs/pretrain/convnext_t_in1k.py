_base_ = [
    "../_base_/models/classifier_convnext.py",
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/imagenet_300_epochs.py",
    "../_base_/classification_runtime.py",
]

# ConvNeXt-T from random weights on ImageNet-1K, 224x224: published top-1 82.1.
# The base files state this row.
