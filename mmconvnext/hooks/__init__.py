"""Hooks for mmengine's runner."""

from __future__ import annotations

from mmconvnext.hooks.bad_data import BadDataHook
from mmconvnext.hooks.checkpoint import WholeCheckpointHook
from mmconvnext.hooks.exact_state import ExactStateHook
from mmconvnext.hooks.finite import FiniteGuardHook
from mmconvnext.hooks.finite_report import NonFiniteError
from mmconvnext.hooks.inference import FastTestHook
from mmconvnext.hooks.preemption import PreemptionHook
from mmconvnext.hooks.progress import ProgressBarHook

__all__ = [
    "BadDataHook",
    "ExactStateHook",
    "FastTestHook",
    "FiniteGuardHook",
    "NonFiniteError",
    "PreemptionHook",
    "ProgressBarHook",
    "WholeCheckpointHook",
]
