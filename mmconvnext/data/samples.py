"""What a data set's pipeline makes of its pictures, in a form that can be painted."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmconvnext.data.checks import DataError


@dataclass(frozen=True)
class Sample:
    """One picture with its labels.

    Args:
        name: of its file.
        picture: (H, W, 3) uint8 RGB.
        boxes: (N, 4), left, top, right, bottom in pixels.
        labels: (N,), of the boxes; -1 where an object is to be ignored.
        masks: (N, H, W) bool; None where the boxes have none.
        classes: (H, W) class of each pixel, 255 where it is to be ignored; None for detection.
    """

    name: str
    picture: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None
    classes: np.ndarray | None = None


def augmented(dataset: Any, index: int, *, order: str, seed: int) -> Sample:
    """The picture that ``dataset[index]`` gives to the network, before normalisation.

    Args:
        dataset: of mmdet or mmseg, in whatever wrappers; its pipeline packs (PackDetInputs,
            PackSegInputs).
        index: of the sample; where its pipeline refuses it, mm takes another by chance.
        order: 'bgr' or 'rgb', of the pipeline's pictures.
        seed: of the augmentation.

    Raises:
        DataError: the pipeline packs something else.
    """
    with seeded(seed):
        item = dataset[index]
    picture = item.get("inputs") if isinstance(item, Mapping) else None
    label = item.get("data_samples") if isinstance(item, Mapping) else None
    if picture is None or not hasattr(picture, "permute") or label is None:
        raise DataError(
            "pipeline: expected one picture ('inputs', a tensor) and its 'data_samples', found "
            f"{_form(item)}; only pipelines that end with PackDetInputs or PackSegInputs are shown"
        )
    pixels = picture.permute(1, 2, 0).numpy()
    meta = label.metainfo
    name = Path(meta.get("img_path") or f"picture {index}").name
    instances, ignored = (label.get(part) for part in ("gt_instances", "ignored_instances"))
    boxes, labels, masks = _joined(_parts(instances), _parts(ignored, ignored=True))
    semantic = label.get("gt_sem_seg")
    classes = None if semantic is None else semantic.data.squeeze(0).numpy()
    rgb = displayable(pixels, order, meta.get("img_norm_cfg"))
    return Sample(name, rgb, boxes, labels, masks, classes)


def original(dataset: Any, index: int) -> Sample:
    """The picture at ``index`` as its file has it: the pipeline's steps that load, and no more."""
    dataset, index = locate(dataset, index)
    loaded = copy.deepcopy(dataset.get_data_info(index))
    for step in dataset.pipeline.transforms:
        if type(step).__name__.startswith("Load"):
            loaded = step(loaded)
    boxes = _array(loaded.get("gt_bboxes"), (0, 4))
    labels = _array(loaded.get("gt_bboxes_labels"), (0,)).astype(int)
    ignore = _array(loaded.get("gt_ignore_flags"), (len(labels),)).astype(bool)
    if loaded.get("gt_ignore_flags") is not None:
        labels = np.where(ignore, -1, labels)
    masks = loaded.get("gt_masks")
    return Sample(
        Path(loaded["img_path"]).name,
        displayable(loaded["img"], "bgr"),
        boxes,
        labels,
        None if masks is None else masks.to_ndarray().astype(bool),
        loaded.get("gt_seg_map"),
    )


def displayable(
    pixels: np.ndarray, order: str, norm: Mapping[str, Any] | None = None
) -> np.ndarray:
    """Pixels of any kind, (H, W, C), as (H, W, 3) uint8 RGB.

    Args:
        pixels: uint8; or floats from 0 to 255, or from 0 to 1, or normalised.
        order: 'bgr' or 'rgb', of the channels.
        norm: mmcv's ``img_norm_cfg`` where a Normalize step was there. Without it, normalised
            pixels are stretched to what can be shown.
    """
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        pixels = np.repeat(np.atleast_3d(pixels), 3, axis=2)
    pixels = pixels[..., :3]
    if pixels.dtype != np.uint8:
        pixels = pixels.astype(np.float64)
        if norm is not None:
            pixels = pixels * np.asarray(norm["std"]) + np.asarray(norm["mean"])
            order = "rgb" if norm.get("to_rgb") else order
        elif pixels.min(initial=0.0) < 0:
            low, high = pixels.min(), pixels.max()
            pixels = (pixels - low) * (255 / max(high - low, 1e-9))
        elif pixels.max(initial=0.0) <= 1:
            pixels = pixels * 255
        pixels = pixels.clip(0, 255).round().astype(np.uint8)
    return np.ascontiguousarray(pixels[..., ::-1] if order == "bgr" else pixels)


def locate(dataset: Any, index: int) -> tuple[Any, int]:
    """The data set inside mm's wrappers, and the index there, of a wrapper's sample."""
    while True:
        if hasattr(dataset, "datasets"):  # several in a row
            which, index = dataset._get_ori_dataset_idx(index)
            dataset = dataset.datasets[which]
        elif hasattr(dataset, "dataset"):  # repeated, balanced, mixed
            if hasattr(dataset, "_get_ori_dataset_idx"):
                index = dataset._get_ori_dataset_idx(index)
            dataset = dataset.dataset
        else:
            return dataset, index


def innermost_of(dataset: Any) -> Iterator[Any]:
    """The data sets inside wrappers, each once."""
    if hasattr(dataset, "datasets"):
        for part in dataset.datasets:
            yield from innermost_of(part)
    elif hasattr(dataset, "dataset"):
        yield from innermost_of(dataset.dataset)
    else:
        yield dataset


def chosen(total: int, count: int, seed: int) -> list[int]:
    """``count`` of ``total`` indices by chance, each once, in order."""
    return sorted(random.Random(seed).sample(range(total), min(count, total)))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's and NumPy's random numbers, which pipelines draw, start at ``seed`` and go on
    afterwards where they were."""
    states = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


_Part = tuple[np.ndarray, np.ndarray, "np.ndarray | None"]


def _parts(instances: Any, *, ignored: bool = False) -> _Part:
    """Boxes, labels and masks of mmdet's instances."""
    if instances is None or "bboxes" not in instances:
        return np.zeros((0, 4)), np.zeros(0, int), None
    boxes = _array(instances.bboxes, (0, 4))
    labels = np.full(len(boxes), -1) if ignored else instances.labels.numpy()
    masks = instances.get("masks")
    return boxes, labels, None if masks is None else masks.to_ndarray().astype(bool)


def _joined(one: _Part, other: _Part) -> _Part:
    if not len(other[0]):
        return one
    boxes, labels = (np.concatenate([one[i], other[i]]) for i in range(2))
    if one[2] is None or other[2] is None:
        return boxes, labels, None
    return boxes, labels, np.concatenate([one[2], other[2]])


def _array(value: Any, empty: Sequence[int]) -> np.ndarray:
    """Boxes of mmdet's kinds, tensors and arrays as an array."""
    if value is None:
        return np.zeros(empty)
    value = getattr(value, "tensor", value)
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)


def _form(item: Any) -> str:
    if not isinstance(item, Mapping):
        return type(item).__name__
    return ", ".join(f"{key} ({type(value).__name__})" for key, value in item.items()) or "nothing"
