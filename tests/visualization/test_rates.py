from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmconvnext.visualization import rates as module
from mmconvnext.visualization.rates import plot_rates


def test_a_picture_of_every_kind(tmp_path) -> None:
    rates = np.outer(np.linspace(1, 0, 30), [1e-4, 2e-4])
    png = plot_rates(rates, ["layer 0", "layer 1"], tmp_path / "new" / "a.png", epoch=10, title="t")
    assert Image.open(png).size[0] == 1200
    svg = plot_rates(rates, ["layer 0", "layer 1"], tmp_path / "a.svg")
    assert "<svg" in svg.read_text()


def test_frozen_rates_and_a_single_iteration_can_be_drawn(tmp_path) -> None:
    plot_rates(np.zeros((1, 1)), ["all"], tmp_path / "a.png")
    assert (tmp_path / "a.png").is_file()


def test_no_step_of_a_long_schedule_is_left_out() -> None:
    rates = np.ones((100_000, 1))
    rates[33_333:] = 0.1
    kept = module._kept(rates)
    assert {0, 33_332, 33_333, 99_999} <= set(kept.tolist())
    assert len(kept) < 3000


def test_labels_are_counted(tmp_path) -> None:
    with pytest.raises(ValueError, match="expected 2 labels, found 1"):
        plot_rates(np.ones((3, 2)), ["one"], tmp_path / "a.png")
