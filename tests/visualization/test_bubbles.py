from __future__ import annotations

import pytest
from PIL import Image

from mmconvnext.visualization import bubbles
from mmconvnext.visualization.bubbles import Bubble, plot_bubbles

NEAR = [
    Bubble("left", "a", 100.0, 50.0, 40.0),
    Bubble("right", "b", 101.0, 50.0, 80.0, filled=False),
    Bubble("far", "a", 200.0, 55.0, 40.0),
]


def test_each_method_has_a_panel_and_each_family_a_colour(tmp_path):
    path = plot_bubbles(
        {"one": NEAR, "none": [], "two": NEAR[:1]},
        {"one": "AP", "none": "AP", "two": "mIoU"},
        tmp_path / "new" / "all.png",
        ring="large",
    )
    with Image.open(path) as image:
        assert image.size == (2 * 780, 660)
        seen = {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}
    assert {(31, 119, 180), (255, 127, 14)} <= seen  # edges are not transparent


def test_names_keep_clear_of_each_other(tmp_path):
    path = plot_bubbles({"one": NEAR}, {"one": "AP"}, tmp_path / "all.svg", ring="large")
    assert "<svg" in path.read_text()[:1000]
    assert bubbles._overlap((0, 0, 2, 2), (1, 1, 3, 3)) == 1
    assert bubbles._overlap((0, 0, 2, 2), (2, 0, 3, 3)) == 0


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match="no network has a published accuracy"):
        plot_bubbles({"one": []}, {"one": "AP"}, "none.png", ring="large")
