"""Made-up pictures of coloured shapes in ImageNet's layout: a folder a class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmconvnext.data.shapes import CLASSES, ShapesSpec, count_shapes, draw_picture, write_data


def make_class_shapes(root: Path | str, spec: ShapesSpec) -> dict[str, Any]:
    """Write ``spec`` under ``root`` in ImageNet's layout, unless exactly that already lies there.

    Files: ``{train,val}/{circle,square,triangle}/000000.png``, of each class as many, give or take
    one. All shapes in a picture are of its class. Replacement, return value and errors are those of
    :func:`mmconvnext.data.make_coco_shapes`.
    """
    return write_data(Path(root), spec, "classes", _write_class_part)


def _write_class_part(root: Path, spec: ShapesSpec, part: int, name: str) -> dict[str, int]:
    from PIL import Image

    folders = [root / name / title for title in CLASSES]
    for folder in folders:
        folder.mkdir(parents=True)
    labels: list[int] = []
    images = spec.val if part else spec.train
    for index in range(images):
        label = index % len(CLASSES)
        picture, shapes = draw_picture(spec, part, index, label)
        Image.fromarray(picture).save(folders[label] / f"{index:06}.png", compress_level=1)
        labels += [shape.label for shape in shapes]
    return count_shapes(labels, images)
