from __future__ import annotations

import os

import mmcv
import pytest

from mmconvnext.data.headers import Header
from mmconvnext.data.picture_checks import Loading, fingerprint


def test_loading_is_read_off_the_pipeline():
    steps = [
        dict(type="mmdet.LoadImageFromFile"),
        dict(type="Resize", scale=(90, 60), keep_ratio=True),
        dict(type="Resize", scale=(50, 50)),  # whatever its shape was
        dict(
            type="RandomChoice",
            transforms=[
                [dict(type="RandomChoiceResize", scales=[(40, 70), (30, 30)], keep_ratio=True)],
                [dict(type="RandomResize", scale=(80, 80), ratio_range=(0.1, 2), keep_ratio=True)],
            ],
        ),
    ]
    assert Loading.of(steps) == Loading(True, ((90, 60), (40, 70), (30, 30), (8, 8)))
    ignoring = dict(type="LoadImageFromFile", color_type="color_ignore_orientation")
    assert Loading.of([ignoring]) == Loading(False)
    assert Loading.of([dict(type="LoadMultiChannelImageFromFiles")]) is None
    assert Loading.of(None) is None


@pytest.mark.parametrize("size", [(1, 1), (20_000, 200), (200, 20_000), (5_000, 12), (1, 300)])
@pytest.mark.parametrize("scale", [(64, 64), (1333, 800), (102, 102), (8, 100)])
def test_what_mmcv_leaves_nothing_of_is_refused(size, scale):
    vanishes = min(mmcv.rescale_size(size, scale)) < 1
    said = Loading(scales=(scale,)).problem(Header("", size), None)
    assert bool(said) == vanishes
    assert not said or f"{size[0]}x{size[1]} pixels: made to fit {scale[0]}x{scale[1]}" in said


@pytest.mark.parametrize(
    ("turns", "turned", "expected", "said"),
    [
        (True, False, (60, 40), None),
        (True, False, (40, 60), "is 60x40 pixels, its annotations are for 40x60"),
        (True, True, (40, 60), None),
        (True, True, (60, 40), "loads pictures as stored"),
        (False, True, (60, 40), None),
        (False, True, (40, 60), "would turn it, LoadImageFromFile's color_type does not"),
        (True, True, (50, 50), "is 40x60 pixels, its annotations are for 50x50"),
        (True, True, None, None),
    ],
)
def test_pictures_are_of_their_annotations_size(turns, turned, expected, said):
    found = Loading(turns).problem(Header("", (60, 40), turned), expected)
    assert said in found if said else not found


def test_a_fingerprint_changes_with_the_files_their_folder_and_the_settings(tmp_path):
    paths = [str(tmp_path / "a.jpg"), str(tmp_path / "no" / "b.jpg")]
    first = fingerprint(paths, 1)
    assert fingerprint(paths, 1) == first
    assert fingerprint(paths, 2) != first and fingerprint(paths[:1], 1) != first
    os.utime(tmp_path, (1, 1))
    assert fingerprint(paths, 1) != first
