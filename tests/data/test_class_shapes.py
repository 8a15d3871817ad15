"""Made-up class folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmconvnext.data import ShapesSpec, make_class_shapes
from mmconvnext.data.shapes import CLASSES, draw_picture

SPEC = ShapesSpec(train=7, val=3, size=48)


def test_each_class_has_a_folder_of_pictures_with_its_shapes_alone(tmp_path):
    stats = make_class_shapes(tmp_path / "made", SPEC)
    counts = {
        part: [len(list((tmp_path / "made" / part / name).iterdir())) for name in CLASSES]
        for part in ("train", "val")
    }
    assert counts == {"train": [3, 2, 2], "val": [1, 1, 1]}
    assert (stats["train"]["images"], stats["val"]["images"]) == (7, 3)
    picture, shapes = draw_picture(SPEC, 0, 4, label=1)
    assert {shape.label for shape in shapes} == {1}
    written = Image.open(tmp_path / "made" / "train" / CLASSES[1] / "000004.png")
    np.testing.assert_array_equal(np.asarray(written), picture)


def test_the_same_spec_is_not_written_again_and_others_replace_it(tmp_path):
    def times(root: Path) -> list[int]:
        return [path.stat().st_mtime_ns for path in sorted(root.rglob("*.png"))]

    make_class_shapes(tmp_path / "made", SPEC)
    before = times(tmp_path / "made")
    make_class_shapes(tmp_path / "made", SPEC)
    assert times(tmp_path / "made") == before
    make_class_shapes(tmp_path / "made", ShapesSpec(train=3, val=3, size=48))
    assert len(times(tmp_path / "made")) == 6


def test_what_was_not_made_here_stays(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        make_class_shapes(tmp_path, SPEC)
    assert (tmp_path / "photo.jpg").read_bytes() == b"precious"
