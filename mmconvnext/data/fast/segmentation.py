"""mmseg's steps with the same names, arguments, random numbers and results, in less time."""

from __future__ import annotations

from typing import Any

import cv2
import mmcv
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmengine import fileio
from mmseg.datasets import transforms as mmseg_steps

from mmconvnext.data.fast.arrays import channels_first, forwards

Results = dict[str, Any]
Box = tuple[int, int, int, int]  # top, bottom, left, right

_BYTES = np.arange(256, dtype=np.uint8)


class LoadAnnotations(mmseg_steps.LoadAnnotations):
    """mmseg's; all that is done to labels is one table, looked up once a pixel."""

    reduce_zero_label: bool | None

    def _load_seg_map(self, results: Results) -> None:
        if self.reduce_zero_label is None:
            self.reduce_zero_label = results["reduce_zero_label"]
        if self.reduce_zero_label != results["reduce_zero_label"]:
            raise ValueError(
                f"LoadAnnotations: expected the data set's reduce_zero_label="
                f"{results['reduce_zero_label']}, found {self.reduce_zero_label}; "
                "set both to the same"
            )
        content = fileio.get(results["seg_map_path"], backend_args=self.backend_args)
        labels = mmcv.imfrombytes(content, flag="unchanged", backend=self.imdecode_backend)
        if labels.ndim == 3 and labels.shape[2] == 1:
            labels = labels[:, :, 0]  # mmseg's squeeze() takes a height or width of 1 away as well
        labels = labels.astype(np.uint8, copy=False)
        if self.reduce_zero_label or results.get("label_map") is not None:
            labels = cv2.LUT(labels, self._table(results.get("label_map")))
        results["gt_seg_map"] = labels
        results["seg_fields"].append("gt_seg_map")

    def _table(self, label_map: dict[int, int] | None) -> np.ndarray:
        """What becomes of each label that a file may hold."""
        table = _BYTES.copy()
        if self.reduce_zero_label:
            table = table - 1  # 0 becomes 255, not labelled, which also stays as it is
            table[255] = 255
        renamed = _BYTES.copy()
        for old, new in (label_map or {}).items():
            if 0 <= old < 256:
                renamed[old] = new
        return renamed[table]


class RandomCrop(mmseg_steps.RandomCrop):
    """mmseg's; classes are counted by a histogram instead of by sorting the crop's pixels."""

    @cache_randomness
    def crop_bbox(self, results: Results) -> Box:
        """Top, bottom, left and right of a crop, in pixels; see mmseg's."""
        height, width = results["img"].shape[:2]
        box = self._random_box(height, width)
        if self.cat_max_ratio < 1:
            for _ in range(10):  # mmseg's number: the eleventh is taken as it comes
                if self._is_varied(self.crop(results["gt_seg_map"], box)):
                    break
                box = self._random_box(height, width)
        return box

    def _random_box(self, height: int, width: int) -> Box:
        high, wide = self.crop_size
        top = np.random.randint(0, max(height - high, 0) + 1)
        left = np.random.randint(0, max(width - wide, 0) + 1)
        return top, top + high, left, left + wide

    def _is_varied(self, labels: np.ndarray) -> bool:
        """Whether no class covers ``cat_max_ratio`` of what is labelled."""
        counts = _counts(labels)
        counts = counts[np.arange(len(counts)) != self.ignore_index]
        counts = counts[counts > 0]
        return len(counts) > 1 and bool(counts.max() / counts.sum() < self.cat_max_ratio)


def _counts(labels: np.ndarray) -> np.ndarray:
    """How often each of the 256 labels occurs."""
    # OpenCV counts in float32, which is exact up to 2 ** 24.
    if labels.size < 2**24:
        return cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    return np.bincount(labels.ravel(), minlength=256)


class PhotoMetricDistortion(mmseg_steps.PhotoMetricDistortion):
    """mmseg's; each of its maps from a byte to a byte is computed once a value, not once a pixel.

    Pictures that are not bytes go mmseg's way.
    """

    def transform(self, results: Results) -> Results:
        """See mmseg's."""
        results["img"] = forwards(results["img"])
        distorted: Results = super().transform(results)
        return distorted

    def convert(self, img: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
        """``img * alpha + beta``, clipped to 0…255; bytes of any shape."""
        if img.dtype != np.uint8:
            return super().convert(img, alpha, beta)
        return cv2.LUT(img, super().convert(_BYTES, alpha, beta))

    def saturation(self, img: np.ndarray) -> np.ndarray:
        """See mmseg's; ``img`` is BGR."""
        if img.dtype != np.uint8:
            return super().saturation(img)
        if np.random.randint(2):
            ratio = np.random.uniform(self.saturation_lower, self.saturation_upper)
            img = _in_hsv(img, 1, self.convert(_BYTES, alpha=ratio).ravel())
        return img

    def hue(self, img: np.ndarray) -> np.ndarray:
        """See mmseg's; ``img`` is BGR."""
        if img.dtype != np.uint8:
            return super().hue(img)
        if np.random.randint(2):
            turn = np.random.randint(-self.hue_delta, self.hue_delta)
            img = _in_hsv(img, 0, ((_BYTES.astype(int) + turn) % 180).astype(np.uint8))
        return img


def _in_hsv(picture: np.ndarray, channel: int, table: np.ndarray) -> np.ndarray:
    """``picture`` (BGR) with one channel of hue, saturation and value looked up in ``table``."""
    tables = np.repeat(_BYTES[None, :, None], 3, axis=2)
    tables[0, :, channel] = table
    hsv = cv2.LUT(mmcv.bgr2hsv(picture), tables)
    changed: np.ndarray = mmcv.hsv2bgr(hsv)
    return changed


class PackSegInputs(mmseg_steps.PackSegInputs):
    """mmseg's; the picture is split into channels by OpenCV."""

    def transform(self, results: Results) -> Results:
        """See mmseg's."""
        rest = dict(results)
        if results.get("gt_seg_map") is not None:
            rest["gt_seg_map"] = forwards(results["gt_seg_map"])
        picture = rest.get("img")
        if not isinstance(picture, np.ndarray) or picture.ndim != 3:
            packed: Results = super().transform(rest)
            return packed
        del rest["img"]
        return {"inputs": channels_first(picture), **super().transform(rest)}
