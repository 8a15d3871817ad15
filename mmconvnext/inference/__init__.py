"""Trained networks made faster where nothing is trained any more."""

from __future__ import annotations

from mmconvnext.inference.compiling import CompilerError, check_compiler, compile_backbones
from mmconvnext.inference.optimizing import optimize_for_inference

__all__ = ["CompilerError", "check_compiler", "compile_backbones", "optimize_for_inference"]
