"""Which pictures and masks of a data set cannot be used, by their headers or by decoding them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmconvnext.adapt.walking import dicts
from mmconvnext.data.decoding import Decoded, decode_files
from mmconvnext.data.headers import Header, read_headers
from mmconvnext.data.mask_checks import Numbers

_TURNING, _TURNED = ("LoadImageFromFile",), ("color", "grayscale")
_LOADERS = (*_TURNING, "LoadRGB")
Size = tuple[int, int]  # width, height
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Loading:
    """How a data set's pipeline loads its pictures.

    Args:
        turns: whether it turns pictures as their EXIF data ask for.
        scales: width and height that it makes pictures fit into, keeping their shape.
    """

    turns: bool = True
    scales: tuple[Size, ...] = ()

    @classmethod
    def of(cls, pipeline: Any) -> Loading | None:
        """What a config's ``pipeline`` does; None if it does not load picture files itself."""
        step = next((s for s in pipeline or () if _name(s) in _LOADERS), None)
        if step is None:
            return None
        turns = _name(step) in _TURNING and step.get("color_type", "color") in _TURNED
        return cls(turns, tuple(dict.fromkeys(_scales(pipeline))))

    def problem(self, header: Header, expected: Size | None) -> str:
        """Why a picture cannot be used that annotations of the size ``expected`` belong to (None:
        there are none); empty: it can."""
        if header.error:
            return header.error
        loaded = header.shown if self.turns else header.size
        if expected is not None and tuple(expected) != loaded:
            return self._other_size(header, loaded, expected)
        thin = next((scale for scale in self.scales if _vanishes(loaded, scale)), None)
        if thin is None:
            return ""
        return (
            f"is {_times(loaded)} pixels: made to fit {_times(thin)}, "
            "as the pipeline's resizing does, nothing is left of its shorter side"
        )

    def _other_size(self, header: Header, loaded: Size, expected: Size) -> str:
        said = f"is {_times(loaded)} pixels, its annotations are for {_times(expected)}"
        if not header.turned or sorted(loaded) != sorted(expected):
            return said
        if self.turns:
            return (
                f"{said}: its EXIF data turn it while it is loaded; color_type="
                "'color_ignore_orientation' of LoadImageFromFile loads pictures as stored"
            )
        return f"{said}: its EXIF data would turn it, LoadImageFromFile's color_type does not"


def picture_problems(
    paths: Sequence[str],
    expected: Sequence[Size | None],
    loading: Loading,
    *,
    decoders: int = 0,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Which of the pictures ``paths`` cannot be used: path → why.

    Args:
        paths: existing files.
        expected: width and height of what belongs to each.
        loading: how they will be loaded.
        decoders: decode them completely, in so many processes; 0: look at headers alone.
        progress: called with the numbers of files done and of all.
    """
    headers = read_headers(paths, progress)
    found = {
        path: reason
        for path, header, size in zip(paths, headers, expected, strict=True)
        if (reason := loading.problem(header, size))
    }
    if decoders:
        rest = [path for path in paths if path not in found]
        results = decode_files(rest, workers=decoders, progress=progress)
        found |= {path: _undecoded(r) for path, r in zip(rest, results, strict=True) if r.error}
    return found


def mask_problems(
    paths: Sequence[str],
    numbers: Numbers,
    *,
    decoders: int,
    one_pixel: bool,
    progress: Progress | None = None,
) -> tuple[dict[str, str], list[Size]]:
    """Which of the masks ``paths`` cannot be used, path → why, and the width and height of each.

    Args:
        paths: existing files, which are decoded completely.
        numbers: the numbers that they may have.
        decoders: in how many processes.
        one_pixel: whether masks of a height or width of one pixel can be loaded.
        progress: called with the numbers of files done and of all.

    Raises:
        DataError: none of them labels anything.
    """
    masks = decode_files(paths, workers=decoders, masks=True, progress=progress)
    found = {
        path: reason
        for path, mask in zip(paths, masks, strict=True)
        if (reason := _mask_problem(mask, numbers, one_pixel))
    }
    sound = [
        mask.values or frozenset() for p, mask in zip(paths, masks, strict=True) if p not in found
    ]
    if sound:
        numbers.check_labelled(any(map(numbers.labelled, sound)), paths)
    return found, [mask.size for mask in masks]


def fingerprint(paths: Sequence[str], *settings: Any) -> str:
    """A name for these files as they are listed, the times of their folders, and ``settings``."""
    folders = sorted({os.path.dirname(path) for path in paths})  # noqa: PTH120  (many)
    times = [
        (folder, Path(folder).stat().st_mtime_ns) for folder in folders if Path(folder).is_dir()
    ]
    text = json.dumps([list(paths), times, settings], default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def _mask_problem(mask: Decoded, numbers: Numbers, one_pixel: bool) -> str:
    if mask.error:
        return _undecoded(mask)
    if mask.values is None:
        return "has several channels; expected one channel of class numbers"
    if min(mask.size) == 1 and not one_pixel:
        return (
            f"is {_times(mask.size)} pixels: mmseg's LoadAnnotations loses a side of one pixel, "
            "mmconvnext.data.fast.segmentation.LoadAnnotations does not"
        )
    return numbers.problem(mask.values)


def _undecoded(result: Decoded) -> str:
    return f"does not decode: {result.error}"


def _name(step: Mapping[str, Any]) -> str:
    kind = step.get("type")
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2]


def _scales(pipeline: Any) -> Iterator[Size]:
    """The smallest size of each step that keeps the shape, wherever in ``pipeline``."""
    for step, _ in dicts(pipeline):
        if not step.get("keep_ratio"):
            continue
        given = step.get("scales") or step.get("scale")
        several = given if given and isinstance(given[0], (list, tuple)) else [given]
        lowest = min(step.get("ratio_range") or (1,))
        for scale in several:
            if scale and len(scale) == 2:
                yield int(scale[0] * lowest), int(scale[1] * lowest)


def _vanishes(size: Size, scale: Size) -> bool:
    """Whether mmcv's rounding leaves nothing of a side."""
    factor = min(max(scale) / max(size), min(scale) / min(size))
    return int(min(size) * factor + 0.5) < 1


def _times(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
