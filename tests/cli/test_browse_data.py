from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmconvnext.cli.main import main
from mmconvnext.data.samples import Sample
from mmconvnext.visualization.samples import paint_sample

MASKED = """
_base_.train_dataloader.dataset.dataset.pipeline[1]["with_mask"] = True
_base_.train_dataloader.dataset.dataset.pipeline.insert(3, dict(type="RandomFlip", prob=0.5))
"""


def browse(task, tiny_config, shapes, *options: str, extra: str = "") -> int:
    pytest.importorskip({"detection": "mmdet", "segmentation": "mmseg"}[task])
    config = tiny_config(task, extra)
    return main(["browse-data", str(config), "--data-root", str(shapes[task]), *options])


def test_a_grid_and_the_counts(task, tiny_config, shapes, tmp_path, capsys) -> None:
    out = tmp_path / "new" / "grid.png"
    assert browse(task, tiny_config, shapes, "-o", str(out), "--count", "3") == 0
    said = capsys.readouterr()
    assert "4 pictures, 0 of them without" in said.out
    assert f"written: {out}" in said.out
    assert "index created" not in said.out
    page = Image.open(out)
    assert page.size == (3 * 138 + 8, 64 + 26 + 8)  # as narrow as titles allow
    assert [file.name for file in out.parent.iterdir()] == ["grid.png"]
    colors = {tuple(c) for c in np.asarray(page).reshape(-1, 3)}
    assert len(colors) > 10


def test_a_page_holds_pictures_and_counts(task, tiny_config, shapes, tmp_path) -> None:
    out = tmp_path / "data.html"
    assert browse(task, tiny_config, shapes, "-o", str(out), "--count", "2", "--before") == 0
    page = out.read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg;base64,') == 4
    assert page.count('class="pair"') == 2
    assert "4 pictures, 0 of them without" in page
    for name in ("circle", "square", "triangle"):
        assert f'<th scope="row">{name}</th>' in page
    assert "<h1>tiny</h1>" in page and "seed 0" in page
    assert [file.name for file in tmp_path.glob("*.html")] == ["data.html"]


def test_before_and_after_stand_beside_each_other(tiny_config, shapes, tmp_path) -> None:
    out = tmp_path / "grid.png"
    options = ["-o", str(out), "--count", "2", "--before"]
    assert browse("detection", tiny_config, shapes, *options, extra=MASKED) == 0
    assert Image.open(out).size == (4 * 138 + 8, 64 + 26 + 8)


def test_the_seed_decides_choice_and_augmentation(tiny_config, shapes, tmp_path) -> None:
    pages = []
    for name, seed in (("a.png", "1"), ("b.png", "1"), ("c.png", "2")):
        options = ["-o", str(tmp_path / name), "--count", "3", "--seed", seed]
        assert browse("detection", tiny_config, shapes, *options, extra=MASKED) == 0
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1] != pages[2]


def test_validation_data_without_a_picture(task, tiny_config, shapes, capsys) -> None:
    assert browse(task, tiny_config, shapes, "--split", "val") == 0
    assert "4 pictures" in capsys.readouterr().out


def test_floats_are_shown(tiny_config, shapes, tmp_path) -> None:
    extra = """
_base_.train_dataloader.dataset.dataset.pipeline[0]["to_float32"] = True
"""
    plain, floats = tmp_path / "plain.png", tmp_path / "floats.png"
    assert browse("detection", tiny_config, shapes, "-o", str(plain)) == 0
    assert browse("detection", tiny_config, shapes, "-o", str(floats), extra=extra) == 0
    one, other = (np.asarray(Image.open(file)).astype(int) for file in (plain, floats))
    assert np.abs(one - other).max() <= 1


def test_objects_to_be_ignored_are_grey() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    boxes = np.array([[4.0, 30, 20, 60], [40.0, 30, 60, 60]])
    sample = Sample("x", picture, boxes, np.array([0, -1]))
    painted = paint_sample(sample, ("dog",), [(200, 0, 0)])
    assert painted[45, 4].tolist() == [200, 0, 0]
    assert painted[45, 40].tolist() == [128, 128, 128]
    assert not picture.any()


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["-o", "grid.jpg"], "-o grid.jpg: expected a file .png or .html"),
        (["--count", "0"], "must be at least 1"),
        (["--split", "test"], "invalid choice: 'test'"),
        (["--data-root", "nowhere"], "data folder nowhere"),
    ],
)
def test_bad_input(argv, line, tiny_config, tmp_path, capsys, monkeypatch) -> None:
    pytest.importorskip("mmdet")
    config = tiny_config("detection")
    monkeypatch.chdir(tmp_path)
    before = set(Path().iterdir())
    assert main(["browse-data", str(config), *argv]) == 2
    said = capsys.readouterr().err
    assert line in said and said.count("\n") == 1
    assert set(Path().iterdir()) == before


def test_a_data_set_that_is_filtered_to_nothing_is_named(tiny_config, shapes, capsys) -> None:
    extra = """
_base_.train_dataloader.dataset.dataset["filter_cfg"] = dict(min_size=1000)
"""
    assert browse("detection", tiny_config, shapes, extra=extra) == 2
    said = capsys.readouterr().err
    assert "is left by the data set's filters: filter_cfg={'min_size': 1000}, classes circ" in said


def test_a_config_without_data_is_named(capsys) -> None:
    assert main(["browse-data", "mmconvnext::_base_/runtime.py"]) == 2
    assert "has no train_dataloader with a dataset" in capsys.readouterr().err
