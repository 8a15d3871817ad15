"""Classification, to pretrain a backbone: model, data set, augmentation, metric."""

from __future__ import annotations

from mmconvnext.classification.class_folders import ClassFolders
from mmconvnext.classification.classifier import ImageClassifier
from mmconvnext.classification.top_accuracy import TopAccuracy
from mmconvnext.classification.transforms import LoadRGB, PackClass, RandAugment, Torchvision

__all__ = [
    "ClassFolders",
    "ImageClassifier",
    "LoadRGB",
    "PackClass",
    "RandAugment",
    "TopAccuracy",
    "Torchvision",
]
