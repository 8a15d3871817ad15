from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmconvnext.data.checks import DataError
from mmconvnext.data.mask_checks import check_masks


@pytest.fixture
def masks(tmp_path):
    """Writes masks that consist of the given values; returns their paths."""

    def write(*masks: list[int], mode: str | None = None) -> list[str]:
        paths = []
        for number, values in enumerate(masks):
            path = tmp_path / f"{number:03}.png"
            picture = Image.fromarray(np.array([values], dtype=np.uint8))
            (picture.convert(mode) if mode else picture).save(path)
            paths.append(str(path))
        return paths

    return write


@pytest.mark.parametrize(
    ("values", "reduce_zero_label", "said"),
    [
        ([0, 1, 2, 255], False, None),
        ([0, 1, 3, 255], True, None),
        ([0, 3], False, "has the value 3, but 0 to 2 are the 3 classes of data, 255 counts no"),
        ([0, 4], True, "has the value 4, but 0 is not labelled, 1 to 3 are the 3 classes of data"),
        ([0, 0], True, "label nothing: 0 is not labelled"),
        ([255, 255], False, "label nothing: 0 to 2 are the 3 classes of data"),
    ],
)
def test_values_are_those_of_classes(masks, values, reduce_zero_label, said):
    paths = masks(values)
    settings = {"reduce_zero_label": reduce_zero_label, "named_in": "data"}
    if said is None:
        check_masks(paths, 3, **settings)
        return
    with pytest.raises(DataError) as error:
        check_masks(paths, 3, **settings)
    assert said in str(error.value) and paths[0] in str(error.value)


def test_one_mask_that_labels_is_enough_and_none_is_no_error(masks):
    check_masks(masks([0, 0], [0, 1]), 3, reduce_zero_label=True, named_in="data")
    check_masks([], 3, reduce_zero_label=True, named_in="data")


def test_palettes_are_numbers_and_colours_are_not(masks):
    check_masks(masks([0, 1, 2], mode="P"), 256, reduce_zero_label=False, named_in="data")
    with pytest.raises(DataError, match=r"000.png has 3 channels; expected one channel of class"):
        check_masks(masks([0, 1], mode="RGB"), 3, reduce_zero_label=False, named_in="data")


def test_at_most_twenty_of_many_masks_are_looked_at(masks, monkeypatch):
    seen = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda path: seen.append(path) or real(path))
    paths = masks(*([0, 1] for _ in range(45)))
    check_masks(paths, 2, reduce_zero_label=False, named_in="data")
    assert len(seen) == 15 and {paths[0], paths[42]} <= set(seen)


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_a_mask_that_does_not_decode_is_named(masks, content):
    path = Path(masks([0, 1])[0])
    path.write_bytes(path.read_bytes()[:45] if content is None else content)
    with pytest.raises(DataError, match=f"mask {path} does not decode: .*; get it again"):
        check_masks([str(path)], 3, reduce_zero_label=False, named_in="data")
