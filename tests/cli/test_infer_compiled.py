"""``--compile`` with a compiler that is really there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sample_models import CONFIGS, save_model

from mmconvnext.cli.main import main
from mmconvnext.inference import CompilerError, check_compiler

SIZES = [(72, 104), (136, 88)]  # below 64 pixels edge cases are compiled apart


def test_compiled_it_finds_the_same_in_pictures_of_all_sizes(tmp_path):
    try:
        check_compiler("cpu")
    except CompilerError as error:
        pytest.skip(str(error))
    photos, checkpoint = tmp_path / "photos", tmp_path / "model.pth"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for number, size in enumerate(SIZES):
        cv2.imwrite(str(photos / f"{number}.png"), rng.integers(0, 256, (*size, 3), np.uint8))
    command = ["infer", str(CONFIGS["segmentation"])]
    command += [str(save_model(CONFIGS["segmentation"], checkpoint)), str(photos)]
    command += ["--device", "cpu", "--no-pictures", "--out"]
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    assert main([*command, str(tmp_path / "plain")]) == 0
    assert not counters["stats"]["unique_graphs"]
    assert main([*command, str(tmp_path / "compiled"), "--compile"]) == 0
    assert counters["stats"]["unique_graphs"] == 2  # of the compiler's check, and of the backbone
    for number, size in enumerate(SIZES):
        plain, compiled = (_map(tmp_path / kind, number) for kind in ("plain", "compiled"))
        assert plain.shape == size and len(np.unique(plain)) > 1
        assert np.array_equal(plain, compiled)


def _map(out: Path, number: int) -> np.ndarray:
    return cv2.imread(str(out / "maps" / f"{number}.png"), cv2.IMREAD_UNCHANGED)
