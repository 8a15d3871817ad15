from __future__ import annotations

import pytest
from matplotlib import colors
from PIL import Image

from mmconvnext.visualization import curves

LINES = """\
{"lr": 0.1, "loss": 2.5, "iter": 20, "step": 20}
{"lr": 0.2, "loss": 1.5, "iter": 40, "step": 40}
{"coco/bbox_mAP": 0.25, "data_time": 0.1, "step": 40}
{"lr": 0.1, "loss": 1.0, "iter": 60, "step": 60}
{"coco/bbox_mAP": 0.75, "note": "text is no curve", "step": 60}
"""


@pytest.fixture
def scalars(tmp_path):
    path = tmp_path / "scalars.json"
    path.write_text(LINES)
    return path


def test_reads_each_value_against_its_iteration(scalars):
    found = curves.read_scalars(scalars)
    assert found["loss"] == [(20, 2.5), (40, 1.5), (60, 1.0)]
    assert found["coco/bbox_mAP"] == [(40, 0.25), (60, 0.75)]
    assert set(found) == {"lr", "loss", "coco/bbox_mAP", "data_time"}


def test_a_last_line_cut_short_is_passed_over(scalars):
    scalars.write_text(LINES + '{"loss": 0.')
    assert curves.read_scalars(scalars)["loss"][-1] == (60, 1.0)


@pytest.mark.parametrize("line", ["not json", "[1, 2]", '{"loss": 1.0}'])
def test_another_kind_of_file_is_named_with_the_line(scalars, line):
    scalars.write_text(f'{{"loss": 2.0, "step": 1}}\n{line}\n{{"loss": 1.0, "step": 3}}\n')
    with pytest.raises(ValueError, match=r"scalars.json, line 2: expected a JSON object"):
        curves.read_scalars(scalars)


def test_plots_loss_and_scaled_metrics(scalars, tmp_path, monkeypatch):
    figures = []
    save = curves.save_figure
    monkeypatch.setattr(curves, "save_figure", lambda f, out: (figures.append(f), save(f, out))[1])
    out = curves.plot_curves(
        scalars, tmp_path / "new" / "plot.png", metrics=["coco/bbox_mAP"], title="demo", scale=0.5
    )
    left, right = figures[0].axes
    assert left.get_lines()[0].get_xydata().tolist() == [[20, 2.5], [40, 1.5], [60, 1.0]]
    assert right.get_lines()[0].get_xydata().tolist() == [[40, 0.125], [60, 0.375]]
    assert right.get_ylim() == (0, 1) and left.get_title() == "demo"
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == ["loss", "coco/bbox_mAP"]
    with Image.open(out) as image:
        assert image.size == (840, 480)
        assert colors.to_rgb("0.4") in {
            tuple(v / 255 for v in rgb) for _, rgb in image.convert("RGB").getcolors(1 << 20)
        }


def test_a_metric_that_is_not_there_is_named_with_those_that_are(scalars, tmp_path):
    with pytest.raises(ValueError, match=r"expected mIoU, found coco/bbox_mAP, data_time, loss"):
        curves.plot_curves(scalars, tmp_path / "plot.png", metrics=["mIoU"])
    assert not (tmp_path / "plot.png").exists()
