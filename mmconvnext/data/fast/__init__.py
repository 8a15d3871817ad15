"""Steps of training pipelines that give exactly what mmdet's and mmseg's of the same names give.

A config names them by their module: ``type="mmconvnext.data.fast.detection.RandomFlip"``. Without
``mmconvnext.data.fast.detection.`` (or ``….segmentation.``) in front, the same line builds the
host's own step. Nothing of mmdet or mmseg is imported before such a line is built.
"""
