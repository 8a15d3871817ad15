"""Pictures to compare an exported file and its model on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image, ImageOps

from mmconvnext.adapt.walking import innermost
from mmconvnext.data.listing import files_below
from mmconvnext.data.shapes import ShapesSpec, draw_picture
from mmconvnext.inference.pictures import PictureError

# What a picture's width and height are multiplied by: several sizes and several shapes.
_FACTORS = ((1.0, 1.0), (0.75, 0.9), (1.3, 1.1))
_FEW = 2
_SMALLEST = 64  # pixels of a side: an archive takes no less, its last map would be one cell
_DRAWN = ShapesSpec(size=192)


def pictures_to_compare(
    cfg: Config, files: Sequence[Path], size: tuple[int, int] | None
) -> list[np.ndarray]:
    """Pictures of several sizes, (H, W, 3) uint8 RGB.

    Args:
        cfg: whose first test pictures are taken where no ``files`` are named; where those are not
            there either, shapes are drawn.
        files: pictures.
        size: height and width that all shall have; None: the pictures' own, larger and smaller.

    Raises:
        PictureError: a file cannot be read.
    """
    chosen = list(files) or _of_config(cfg)
    images = [_read(file) for file in chosen] or [_drawn(seed) for seed in range(_FEW)]
    if size is not None:
        return [np.asarray(image.resize(size[::-1])) for image in images]
    return [
        np.asarray(image.resize((_side(image.width * x), _side(image.height * y))))
        for image in images
        for x, y in _FACTORS
    ]


def _of_config(cfg: Config) -> list[Path]:
    loader = cfg.get("test_dataloader") or {}
    for dataset in innermost(loader.get("dataset") or {"datasets": ()}):
        prefix = dataset.get("data_prefix") or {}
        below = prefix.get("img") or prefix.get("img_path") or ""
        folder = Path(dataset.get("data_root") or "", below)
        if folder.is_dir():
            return [folder / name for name in islice(sorted(files_below(str(folder))), _FEW)]
    return []


def _read(file: Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except OSError as error:
        raise PictureError(f"picture {file} cannot be read: {error.strerror or error}") from error


def _side(pixels: float) -> int:
    return max(_SMALLEST, round(pixels))


def _drawn(seed: int) -> Image.Image:
    return Image.fromarray(draw_picture(_DRAWN, part=1, index=seed)[0])
