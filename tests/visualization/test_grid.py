from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mmconvnext.visualization import Instance, Panel, grid, panel_of, save_grid

PALETTE = ((100, 0, 0), (0, 200, 0))


@pytest.fixture
def picture(tmp_path):
    pixels = np.zeros((6, 8, 3), dtype=np.uint8)
    pixels[..., 2] = 150
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png", pixels


def mask(rows: slice, columns: slice) -> np.ndarray:
    filled = np.zeros((6, 8), dtype=bool)
    filled[rows, columns] = True
    return filled


def test_detections_above_the_threshold_become_instances(picture):
    mask_tools = pytest.importorskip("pycocotools.mask")
    path, pixels = picture
    first = mask(slice(1, 3), slice(2, 5))
    encoded = mask_tools.encode(np.asfortranarray(first.astype(np.uint8)))
    prediction = {
        "img_path": str(path),
        "pred_instances": {
            "labels": torch.tensor([1, 0]),
            "scores": torch.tensor([0.9, 0.49]),
            "bboxes": torch.tensor([[2.0, 1.0, 5.0, 3.0], [0.0, 0.0, 1.0, 1.0]]),
            "masks": [encoded, encoded],
        },
    }
    panel = panel_of(prediction)
    assert np.array_equal(panel.picture, pixels)
    (instance,) = panel.instances
    assert (instance.label, instance.box) == (1, (2.0, 1.0, 5.0, 3.0))
    assert instance.score == pytest.approx(0.9)
    assert np.array_equal(instance.mask, first)
    assert len(panel_of(prediction, score_thr=0.4).instances) == 2


def test_a_semantic_map_loses_its_channel_dimension(picture):
    labels = torch.arange(48).reshape(1, 6, 8) % 2
    panel = panel_of({"img_path": str(picture[0]), "pred_sem_seg": {"data": labels}})
    assert np.array_equal(panel.semantic, labels[0].numpy())


def test_a_prediction_of_neither_kind_is_refused(picture):
    with pytest.raises(ValueError, match="expected pred_instances or pred_sem_seg, found img_path"):
        panel_of({"img_path": str(picture[0])})


def test_masks_and_maps_are_shaded_over_grey(picture):
    _, pixels = picture  # its mean over the channels is 50
    filled = mask(slice(0, 2), slice(0, 3))
    shaded = [round(0.4 * 50 + 0.6 * channel) for channel in PALETTE[1]]
    painted = grid.paint(Panel(pixels, [Instance(1, 1.0, (0, 0, 3, 2), filled)]), PALETTE)
    assert (painted[filled] == shaded).all() and (painted[~filled] == 50).all()
    painted = grid.paint(Panel(pixels, semantic=filled.astype(int)), PALETTE)
    assert (painted[filled] == shaded).all()
    assert (painted[~filled] == [round(0.4 * 50 + 0.6 * 100), 20, 20]).all()


def test_the_grid_has_a_row_of_pictures_above_one_of_predictions(picture, tmp_path, monkeypatch):
    _, pixels = picture
    instance = Instance(1, 0.876, (1.0, 2.0, 4.0, 5.0), mask(slice(2, 5), slice(1, 4)))
    panels = [Panel(pixels, [instance]), Panel(pixels), Panel(pixels)]
    figures = []
    save = grid.save_figure
    monkeypatch.setattr(grid, "save_figure", lambda f, out: (figures.append(f), save(f, out))[1])
    out = save_grid(
        panels, tmp_path / "a" / "g.png", classes=("a", "bee"), palette=PALETTE, columns=2
    )
    shown = [[len(axis.images) for axis in figures[0].axes[i : i + 2]] for i in (0, 2, 4, 6)]
    assert shown == [[1, 1], [1, 1], [1, 0], [1, 0]]
    painted = figures[0].axes[2]
    assert painted.texts[0].get_text() == "bee 0.88"
    box = painted.patches[0]
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (1, 2, 3, 3)
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["a", "bee"]
    with Image.open(out) as image:
        assert image.size == (528, 1104)


def test_no_panels_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one panel"):
        save_grid([], tmp_path / "g.png", classes=(), palette=())
