from __future__ import annotations

import pytest

from mmconvnext.data import pair_checks
from mmconvnext.data.checks import DataError


@pytest.mark.parametrize(
    ("pictures", "masks", "said"),
    [
        (["a.jpg", "city/b.jpg"], ["a.png", "city/b.png", "spare.png"], None),
        (
            ["a.jpg", "city/b.jpg"],
            ["a.png", "b.png"],
            r"1 of 2 images in .* have no mask \*.png in .*: city/b$",
        ),
        (["a.png"], ["a.png"], r"has no \*.jpg, so there .* load; set the dataset's img_suffix"),
    ],
)
def test_pictures_and_masks_are_paired_by_name(tmp_path, pictures, masks, said):
    for kind, names in (("img", pictures), ("ann", masks)):
        for name in names:
            path = tmp_path / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    arguments = (str(tmp_path / "img"), str(tmp_path / "ann"), ".jpg", ".png")
    if said is None:
        assert sorted(pair_checks.check_pairs(*arguments)) == ["a", "city/b"]
        return
    with pytest.raises(DataError, match=said):
        pair_checks.check_pairs(*arguments)
