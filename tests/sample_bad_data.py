"""What users' data sets have in them: each breaks picture 2 of a copy of the made-up data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Save = Callable[[Image.Image, Path], object]
Break = Callable[[Path], None]


# How pictures are saved.


def jpeg(mode: str = "RGB", size: tuple[int, int] | None = None, **options: Any) -> Save:
    def save(picture: Image.Image, path: Path) -> None:
        resized = picture.resize(size) if size else picture
        resized.convert(mode).save(path, "JPEG", quality=95, **options)

    return save


def turned(size: tuple[int, int]) -> Save:
    """Stored with this width and height, to be shown turned by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(size=size, exif=exif)


def png(change: Callable[[Image.Image], Image.Image] = lambda picture: picture) -> Save:
    return lambda picture, path: change(picture).save(path, "PNG")


def cut_off(save: Save) -> Save:
    def write(picture: Image.Image, path: Path) -> None:
        save(picture, path)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 6 // 10])

    return write


def broken_inside(picture: Image.Image, path: Path) -> None:
    """A PNG with its end and a wrong byte in the middle: only decoding finds it."""
    picture.save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def content(text: bytes) -> Save:
    return lambda _, path: path.write_bytes(text)


def sixteen_bits(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


def floats(picture: Image.Image, path: Path) -> None:
    Image.fromarray(np.asarray(picture.convert("L")).astype(np.float32)).save(path, "TIFF")


# Detection: what the annotation file says.


def annotation_file(root: Path) -> Path:
    return root / "annotations" / "instances_train.json"


def edit(change: Callable[[dict[str, Any]], object]) -> Break:
    """Changes what the annotation file holds."""

    def apply(root: Path) -> None:
        contents = json.loads(annotation_file(root).read_text())
        change(contents)
        annotation_file(root).write_text(json.dumps(contents))

    return apply


def objects(**values: Any) -> Break:
    """Gives the objects of picture 2 these values; None takes them away."""

    def change(contents: dict[str, Any]) -> None:
        for entry in contents["annotations"]:
            if entry["image_id"] == 2:
                entry.update(values)
                for key in [key for key, value in entry.items() if value is None]:
                    del entry[key]

    return edit(change)


def picture(save: Save, name: str = "x.jpg", size: tuple[int, int] = (64, 64)) -> Break:
    """Saves picture 2 in another way; the annotation file says that it is so large."""

    def apply(root: Path) -> None:
        folder = root / "images" / "train"
        save(Image.open(folder / "000001.png").convert("RGB"), folder / name)
        values = {"file_name": name, "width": size[0], "height": size[1]}
        edit(lambda contents: contents["images"][1].update(values))(root)

    return apply


def with_gaps(contents: dict[str, Any]) -> None:
    for category in contents["categories"]:
        category["id"] = category["id"] * 10 + 3
    for entry in contents["annotations"]:
        entry["category_id"] = entry["category_id"] * 10 + 3


def without_objects(contents: dict[str, Any]) -> None:
    contents["annotations"] = [a for a in contents["annotations"] if a["image_id"] != 2]


# Segmentation: the picture and its mask, 000001.png each.


def seg_picture(save: Save) -> Break:
    return lambda root: _resave(root / "images" / "training" / "000001.png", save, "RGB")


def mask(save: Save) -> Break:
    return lambda root: _resave(root / "annotations" / "training" / "000001.png", save, "L")


def _resave(path: Path, save: Save, mode: str) -> None:
    before = Image.open(path).convert(mode)
    path.unlink()
    save(before, path)


def both(*breaks: Break) -> Break:
    def apply(root: Path) -> None:
        for each in breaks:
            each(root)

    return apply
