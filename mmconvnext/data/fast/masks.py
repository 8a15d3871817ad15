"""Instance masks that are drawn once, where somebody looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import cv2
import mmcv
import numpy as np
import pycocotools.mask as coco_mask
import torch
from mmcv.ops.roi_align import roi_align
from mmdet.structures.bbox import HorizontalBoxes, get_box_type
from mmdet.structures.mask import BitmapMasks

from mmconvnext.data.fast.run_lengths import RunLengths, Seen, box_of_seen


class DrawnLater(BitmapMasks):
    """mmdet's bitmap masks, equal to the bit, without the bitmaps.

    Resizing to the nearest pixel, flipping, cropping and padding each give every row and every
    column of the result one row and one column of the mask they started from. So the masks are kept
    as annotated, run-length encoded, beside which row and which column each pixel comes from. They
    are drawn when :attr:`masks` is read: in a training run that is in the model's process. From a
    worker to there, kilobytes travel instead of a byte a pixel and object.

    Every other operation of ``BitmapMasks`` works on bitmaps, as does every operation after these
    were read or set.

    Args:
        outlines: an object each, all of one size.
        rows: shape ``(height,)``: the row of ``outlines`` that is seen in each row; -1: padding.
        columns: the same of the ``width`` columns.
    """

    def __init__(
        self, outlines: Sequence[RunLengths], rows: np.ndarray, columns: np.ndarray
    ) -> None:
        # Not BitmapMasks': it wants the bitmaps.
        self.height, self.width = len(rows), len(columns)
        self._outlines, self._rows, self._columns = list(outlines), rows, columns

    @classmethod
    def as_annotated(cls, outlines: Sequence[RunLengths], height: int, width: int) -> DrawnLater:
        """Masks of a picture of that size, as they are.

        Raises:
            ValueError: an outline is of another size.
        """
        for number, outline in enumerate(outlines):
            if tuple(outline["size"]) != (height, width):
                raise ValueError(
                    f"mask {number} of a picture: expected height and width of the picture, "
                    f"{height} and {width}, found {tuple(outline['size'])}; correct the "
                    "annotation file's 'size' or exchange the picture"
                )
        return cls(outlines, np.arange(height), np.arange(width))

    @cached_property
    def masks(self) -> np.ndarray:
        """The bitmaps: uint8 of shape ``(objects, height, width)``."""
        bitmaps = np.zeros((len(self._outlines), self.height, self.width), np.uint8)
        for outline, bitmap in zip(self._outlines, bitmaps, strict=True):
            self._draw(outline, bitmap)
        return bitmaps

    @property
    def drawn(self) -> bool:
        """Whether the bitmaps were read or set."""
        return "masks" in self.__dict__

    def _draw(self, outline: RunLengths, bitmap: np.ndarray) -> None:
        left, top, wide, high = coco_mask.toBbox(outline).astype(int)
        rows = _span(self._rows, top, top + high)
        columns = _span(self._columns, left, left + wide)
        if rows.start == rows.stop or columns.start == columns.stop:
            return
        # Decoded column by column: taking rows of the transposed mask moves whole columns.
        mask = coco_mask.decode(outline).T
        mask = cv2.transpose(np.take(mask, self._columns[columns], axis=0))
        bitmap[rows, columns] = np.take(mask, self._rows[rows], axis=0)

    def get_bboxes(self, dst_type: Any = "hbb") -> Any:
        """Boxes around what is seen of the masks, as ``BitmapMasks`` has them, nothing drawn."""
        if self.drawn or get_box_type(dst_type)[1] is not HorizontalBoxes:
            return super().get_bboxes(dst_type)
        if not self._outlines:
            return HorizontalBoxes(np.zeros((0, 4), np.float32))
        height, width = self._outlines[0]["size"]
        rows, columns = Seen(self._rows, height), Seen(self._columns, width)
        boxes = np.zeros((len(self), 4), np.float32)
        for outline, box in zip(self._outlines, boxes, strict=True):
            around = box_of_seen(outline, rows, columns)
            if around is not None:
                top, bottom, left, right = around
                x = _span(self._columns, left, right + 1)
                y = _span(self._rows, top, bottom + 1)
                box[:] = x.start, y.start, x.stop, y.stop
        return HorizontalBoxes(boxes)

    def rescale(self, scale: Any, interpolation: str = "nearest") -> BitmapMasks:
        """See ``BitmapMasks.rescale``."""
        if self.drawn or interpolation != "nearest":
            return super().rescale(scale, interpolation)
        width, height = mmcv.rescale_size((self.width, self.height), scale)
        return self.resize((height, width))

    def resize(self, out_shape: tuple[int, int], interpolation: str = "nearest") -> BitmapMasks:
        """See ``BitmapMasks.resize``."""
        if self.drawn or interpolation != "nearest":
            return super().resize(out_shape, interpolation)
        height, width = out_shape
        return self._seen_in(
            self._rows[_nearest(self.height, height)], self._columns[_nearest(self.width, width)]
        )

    def flip(self, flip_direction: str = "horizontal") -> BitmapMasks:
        """See ``BitmapMasks.flip``."""
        if self.drawn:
            return super().flip(flip_direction)
        assert flip_direction in ("horizontal", "vertical", "diagonal")
        rows = self._rows if flip_direction == "horizontal" else self._rows[::-1]
        columns = self._columns if flip_direction == "vertical" else self._columns[::-1]
        return self._seen_in(rows, columns)

    def crop(self, bbox: np.ndarray) -> BitmapMasks:
        """See ``BitmapMasks.crop``."""
        if self.drawn:
            return super().crop(bbox)
        left, right = np.clip(bbox[0::2], 0, self.width)
        top, bottom = np.clip(bbox[1::2], 0, self.height)
        return self._seen_in(
            self._rows[top : max(bottom, top + 1)], self._columns[left : max(right, left + 1)]
        )

    def pad(self, out_shape: tuple[int, int], pad_val: int = 0) -> BitmapMasks:
        """See ``BitmapMasks.pad``."""
        if self.drawn or pad_val != 0:
            return super().pad(out_shape, pad_val)
        below, right = out_shape[0] - self.height, out_shape[1] - self.width
        return self._seen_in(
            np.pad(self._rows, (0, below), constant_values=-1),
            np.pad(self._columns, (0, right), constant_values=-1),
        )

    def crop_and_resize(
        self,
        bboxes: Any,
        out_shape: tuple[int, int],
        inds: Any,
        device: Any = "cpu",
        interpolation: str = "bilinear",
        binarize: bool = True,
    ) -> BitmapMasks:
        """See ``BitmapMasks.crop_and_resize``, which copies its object's whole bitmap for each box,
        as floats: half a gigabyte for 128 boxes of a large picture. Here boxes share bitmaps."""
        if len(self) == 0 or len(bboxes) == 0:
            return super().crop_and_resize(bboxes, out_shape, inds, device, interpolation, binarize)
        boxes, objects = (torch.as_tensor(values, device=device) for values in (bboxes, inds))
        regions = torch.cat([objects[:, None].to(boxes.dtype), boxes], dim=1)
        bitmaps = torch.from_numpy(self.masks).to(device).to(boxes.dtype)[:, None]
        # Scale 1, as many samples a cell as it has pixels, averaged; pixels' centres at halves.
        found = roi_align(bitmaps, regions, out_shape, 1.0, 0, "avg", True)[:, 0]
        return BitmapMasks((found >= 0.5 if binarize else found).cpu().numpy(), *out_shape)

    @classmethod
    def cat(cls, masks: Sequence[BitmapMasks]) -> BitmapMasks:
        """See ``BitmapMasks.cat``."""
        joined: BitmapMasks = BitmapMasks.cat(masks)
        return joined

    def __getitem__(self, index: Any) -> BitmapMasks:
        if self.drawn:
            return super().__getitem__(index)
        chosen = np.arange(len(self))[index].reshape(-1)
        outlines = [self._outlines[number] for number in chosen]
        return DrawnLater(outlines, self._rows, self._columns)

    def __len__(self) -> int:
        return len(self.masks if self.drawn else self._outlines)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_masks={len(self)}, "
            f"height={self.height}, width={self.width})"
        )

    def _seen_in(self, rows: np.ndarray, columns: np.ndarray) -> DrawnLater:
        return DrawnLater(self._outlines, rows, columns)


def _nearest(size: int, new_size: int) -> np.ndarray:
    """Which of ``size`` rows each of ``new_size`` rows shows: what OpenCV does, asked of it."""
    line = np.arange(size, dtype=np.float32)[None]  # exact up to 2 ** 24
    return cv2.resize(line, (new_size, 1), interpolation=cv2.INTER_NEAREST)[0].astype(np.intp)


def _span(sources: np.ndarray, first: int, end: int) -> slice:
    """Where ``sources``, which only rise or only fall but for padding, are ``first`` to ``end``."""
    (found,) = np.nonzero((sources >= first) & (sources < end))
    return slice(found[0], found[-1] + 1) if len(found) else slice(0, 0)
