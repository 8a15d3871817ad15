"""Testing with a network made faster."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mmconvnext.inference import compile_backbones, optimize_for_inference
from mmconvnext.registry import HOOKS, register_everywhere


@register_everywhere(HOOKS)
class FastTestHook(Hook):
    """Tests with a faster copy of the model; the runner has its own back afterwards.

    Args:
        fuse: fold what can be folded, see ``optimize_for_inference``.
        compiled: compile the backbone, see ``compile_backbones``.
    """

    priority = "VERY_LOW"  # after averaged weights were put in

    def __init__(self, fuse: bool = True, compiled: bool = False) -> None:
        self.fuse, self.compiled = fuse, compiled
        self._original: Any = None

    def before_test_epoch(self, runner: Any) -> None:
        """Put the fast model in. Testing needs no wrapper for distribution around it."""
        model = self._original = runner.model
        if is_model_wrapper(model):
            model = model.module
        if self.fuse:
            model = optimize_for_inference(model)
        if self.compiled:
            compile_backbones(model)
        runner.model = model

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Put the runner's own model back."""
        runner.model, self._original = self._original, None
