"""The runner that users copy: short, and free of this package and PyTorch."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.models.roi_heads.mask_heads import fcn_mask_head

from mmconvnext.export import runner

FILE = Path(runner.__file__)


def test_it_is_short_and_needs_numpy_and_onnx_runtime_only():
    source = FILE.read_text()
    assert len(source.splitlines()) < 60
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported == {"json", "sys", "typing", "numpy", "onnxruntime"}


@pytest.mark.parametrize(
    "box", [(3.2, 4.7, 40.1, 30.9), (-5.0, -3.0, 20.0, 70.0), (10.0, 10.0, 10.5, 11.0)]
)
def test_masks_are_pasted_as_mmdet_does(box):
    cells = torch.rand(28, 28, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([box])
    expected, _ = fcn_mask_head._do_paste_mask(cells[None, None], boxes, 50, 60, skip_empty=False)
    for threshold in (0.3, 0.5):
        found = runner.paste(cells.numpy(), np.array(box, np.float32), (50, 60), threshold)
        differ = found != (expected[0] >= threshold).numpy()
        # Rounding decides where the interpolated value is the threshold.
        assert (np.abs(expected[0].numpy() - threshold)[differ] < 1e-4).all()
