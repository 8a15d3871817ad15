"""A grid of pictures with what was predicted painted on them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmconvnext.visualization.curves import save_figure

Color = tuple[int, int, int]
_SHADE = 0.6


@dataclasses.dataclass(frozen=True)
class Instance:
    """One detected object.

    Args:
        label: index of its class.
        score: confidence, 0 to 1.
        box: left, top, right, bottom in pixels.
        mask: boolean, of the picture's height and width.
    """

    label: int
    score: float
    box: tuple[float, float, float, float]
    mask: np.ndarray


@dataclasses.dataclass(frozen=True)
class Panel:
    """One picture, uint8 RGB ``(h, w, 3)``, with instances or a semantic map ``(h, w)``."""

    picture: np.ndarray
    instances: Sequence[Instance] = ()
    semantic: np.ndarray | None = None


def panel_of(prediction: Mapping[str, Any], *, score_thr: float = 0.5) -> Panel:
    """The panel of one entry of a predictions file (``test --out``), detection or segmentation.

    Args:
        prediction: with ``img_path`` and either ``pred_instances`` (masks as COCO's run lengths) or
            ``pred_sem_seg``.
        score_thr: instances with a lower score are left out.

    Raises:
        ValueError: it has neither.
    """
    from PIL import Image

    with Image.open(prediction["img_path"]) as image:
        picture = np.asarray(image.convert("RGB"))
    if "pred_sem_seg" in prediction:
        return Panel(picture, semantic=np.asarray(prediction["pred_sem_seg"]["data"]).squeeze())
    if "pred_instances" in prediction:
        return Panel(picture, _instances(prediction["pred_instances"], score_thr))
    raise ValueError(
        f"prediction of {prediction['img_path']}: expected pred_instances or pred_sem_seg, "
        f"found {', '.join(prediction)}"
    )


def _instances(predicted: Mapping[str, Any], score_thr: float) -> list[Instance]:
    from pycocotools import mask as coco_mask

    return [
        Instance(int(label), float(score), tuple(box.tolist()), coco_mask.decode(mask).astype(bool))
        for label, score, box, mask in zip(
            predicted["labels"],
            predicted["scores"],
            predicted["bboxes"],
            predicted["masks"],
            strict=True,
        )
        if score >= score_thr
    ]


def paint(panel: Panel, palette: Sequence[Color]) -> np.ndarray:
    """``panel.picture``, in grey, with masks or semantic map shaded in their class's colour."""
    # In grey, or a picture's own colours would pass for classes.
    painted = np.repeat(panel.picture.mean(axis=2, keepdims=True), 3, axis=2)
    shades = [(instance.mask, instance.label) for instance in panel.instances]
    if panel.semantic is not None:
        labels = np.unique(panel.semantic)
        shades += [(panel.semantic == label, int(label)) for label in labels]
    for mask, label in shades:
        painted[mask] = (1 - _SHADE) * painted[mask] + _SHADE * np.asarray(palette[label])
    return painted.round().astype(np.uint8)


def save_grid(
    panels: Sequence[Panel],
    out: Path | str,
    *,
    classes: Sequence[str],
    palette: Sequence[Color],
    columns: int = 4,
) -> Path:
    """Write a grid of ``panels``: each picture above the same picture with its predictions.

    Args:
        panels: one to many; each fills a cell of the grid.
        out: picture file to write; its folder is made if absent.
        classes: class names, by label.
        palette: RGB colours 0 to 255, by label.
        columns: pictures side by side.

    Returns:
        ``out``.

    Raises:
        ValueError: no panels.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if not panels:
        raise ValueError("save_grid: expected at least one panel, found none")
    columns = min(columns, len(panels))
    rows = 2 * math.ceil(len(panels) / columns)
    figure = Figure(figsize=(2.2 * columns, 2.2 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        axes[2 * row, column].imshow(panel.picture)
        below = axes[2 * row + 1, column]
        below.imshow(paint(panel, palette))
        for instance in panel.instances:
            _outline(below, instance, classes, palette)
    handles = [
        Patch(color=_fraction(color), label=name)
        for name, color in zip(classes, palette, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return save_figure(figure, out)


def _outline(
    axis: Any, instance: Instance, classes: Sequence[str], palette: Sequence[Color]
) -> None:
    from matplotlib.patches import Rectangle

    left, top, right, bottom = instance.box
    color = _fraction(palette[instance.label])
    axis.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=color))
    name = f"{classes[instance.label]} {instance.score:.2f}"
    axis.text(left, top, name, fontsize=6, color="black", backgroundcolor=(*color, 0.8))


def _fraction(color: Color) -> tuple[float, float, float]:
    red, green, blue = color
    return red / 255, green / 255, blue / 255
