"""Checks of a segmentation data set without a list: pictures, and a mask of the same name each."""

from __future__ import annotations

import os

from mmconvnext.data.checks import DataError, some


def check_pairs(
    pictures: str, masks: str | None, picture_suffix: str, mask_suffix: str
) -> list[str]:
    """Check a segmentation data set without a list: pictures with ``picture_suffix``, a mask of the
    same name each.

    Returns:
        The names, without suffix.

    Raises:
        DataError: no picture has the suffix, or pictures have no mask (how many, the first three).
    """
    names = names_below(pictures, picture_suffix)
    if not names:
        raise DataError(
            f"folder {pictures} has no *{picture_suffix}, so there are no images to load; set the "
            "dataset's img_suffix to that of the images"
        )
    if masks is None:
        return names
    lacking = sorted(set(names) - set(names_below(masks, mask_suffix)))
    if lacking:
        raise DataError(
            f"{len(lacking)} of {len(names)} images in {pictures} have no mask *{mask_suffix} "
            f"in {masks}: "
            f"{some(lacking)}"
        )
    return names


def names_below(folder: str, suffix: str) -> list[str]:
    """Relative names, without ``suffix``, of the files below ``folder`` that end in it."""
    names = []
    for parent, _, files in os.walk(folder):
        within = os.path.relpath(parent, folder)
        prefix = "" if within == "." else f"{within}/"
        names += [
            f"{prefix}{file.removesuffix(suffix)}"
            for file in files
            if file.endswith(suffix) and not file.startswith(".")
        ]
    return names
