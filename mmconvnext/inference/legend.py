"""What a trained model's labels mean: names and colours of its classes."""

from __future__ import annotations

import colorsys
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from mmconvnext.adapt.walking import class_counts, innermost
from mmconvnext.data.checks import DataError, check_class_count
from mmconvnext.visualization.grid import Color

_GOLDEN = 0.618033988749895  # the golden ratio's fraction: hues far from all earlier ones


@dataclasses.dataclass(frozen=True)
class Legend:
    """Names and colours by label.

    Args:
        classes: names.
        palette: RGB, 0 to 255.
        source: whose names they are: "the checkpoint" or "the config's data set".
        zero_is_ignored: whether the data set's maps have 0 for "no class" and label + 1 for the
            rest, as ADE20K's (mmseg's ``reduce_zero_label``).
    """

    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    source: str
    zero_is_ignored: bool = False


def find_legend(cfg: Config, checkpoint: Mapping[str, Any]) -> Legend:
    """The legend that a checkpoint's content brings, or else the data set of ``cfg``'s test.

    A palette is taken from where the names are from, or from the config's data set if that has the
    same names; without any, colours are made up, always the same.

    Raises:
        DataError: neither names the classes, or the config's data set has others than the model.
    """
    saved = _of_checkpoint(checkpoint)
    try:
        configured = _of_config(cfg)
    except Exception as error:  # a data set of a user's own that cannot be built without its files
        if not saved.get("classes"):
            raise DataError(
                f"classes: the checkpoint does not name them, and the test data set of "
                f"{cfg.filename} cannot be asked: {error}"
            ) from error
        configured = {}
    source, meta = "the checkpoint", saved
    if not saved.get("classes"):
        source, meta = "the config's data set", configured
        if not meta.get("classes"):
            raise DataError(
                f"classes: neither the checkpoint nor the test data set of {cfg.filename} names "
                "them; set test_dataloader.dataset.metainfo=dict(classes=(…))"
            )
        check_class_count(dict(class_counts(cfg.get("model"))), len(meta["classes"]), source)
    classes = tuple(map(str, meta["classes"]))
    same = tuple(map(str, configured.get("classes") or ())) == classes
    palette = meta.get("palette") or (configured.get("palette") if same else None)
    zero = meta.get("reduce_zero_label", configured.get("reduce_zero_label", False))
    return Legend(classes, colors_of(palette, len(classes)), source, bool(zero))


def made_up_palette(count: int) -> tuple[Color, ...]:
    """``count`` colours that differ; the first ones stay the same however many there are."""
    colors = []
    for index in range(count):
        # Three rings of brightness, since hues alone run out after some twenty.
        saturation, value = ((0.85, 0.95), (0.6, 0.8), (0.95, 0.65))[index % 3]
        parts = colorsys.hsv_to_rgb(index * _GOLDEN % 1, saturation, value)
        red, green, blue = (round(255 * part) for part in parts)
        colors.append((red, green, blue))
    return tuple(colors)


def colors_of(palette: Any, count: int) -> tuple[Color, ...]:
    """``count`` colours of a data set's palette, made up where it has none or too few."""
    listed = isinstance(palette, Sequence) and not isinstance(palette, str)
    if not listed or len(palette) < count:  # also "random", which some data sets say
        return made_up_palette(count)
    rows = [tuple(map(int, color)) for color in palette[:count]]
    return tuple((red, green, blue) for red, green, blue in rows)


def _of_checkpoint(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """mmengine's runner saves ``dataset_meta``; before it, CLASSES and PALETTE stood alone."""
    meta = checkpoint.get("meta")
    if not isinstance(meta, Mapping):
        return {}
    found = meta.get("dataset_meta") or {key: meta.get(key) for key in ("CLASSES", "PALETTE")}
    return {str(key).lower(): value for key, value in found.items()}


def _of_config(cfg: Config) -> dict[str, Any]:
    """What the first data set of the test says about itself; none of its files is read."""
    loader = cfg.get("test_dataloader") or {}
    dataset = next(innermost(loader.get("dataset") or {"datasets": ()}), None)
    if dataset is None:
        return {}
    scope = cfg.get("default_scope") or "mmengine"
    with DATASETS.switch_scope_and_registry(scope) as registry:
        meta = registry.build({**dataset, "lazy_init": True, "pipeline": []}).metainfo
    return dict(meta)
