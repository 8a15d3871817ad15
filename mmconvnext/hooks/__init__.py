"""Hooks for mmengine's runner."""

from __future__ import annotations

from mmconvnext.hooks.bad_data import BadDataHook
from mmconvnext.hooks.inference import FastTestHook
from mmconvnext.hooks.progress import ProgressBarHook

__all__ = ["BadDataHook", "FastTestHook", "ProgressBarHook"]
