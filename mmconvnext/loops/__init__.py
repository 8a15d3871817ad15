"""Training loops for mmengine's runner."""

from __future__ import annotations

from mmconvnext.loops.exact import ExactEpochBasedTrainLoop, ExactIterBasedTrainLoop

__all__ = ["ExactEpochBasedTrainLoop", "ExactIterBasedTrainLoop"]
