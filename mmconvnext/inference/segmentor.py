"""The class of each pixel without an array of all classes at the picture's size.

For 150 classes and a picture of 2,000 x 1,500 pixels that array takes 1.8 GB. Resizing and
averaging go class by class, so that some classes at a time give the same numbers, and the running
maximum the same class; of equal ones the first, as with ``argmax``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor, nn

_CHUNK_BYTES = 32 * 2**20  # of some classes' logits at the picture's size


class _Window(NamedTuple):
    logits: Tensor  # (N, classes, h, w), as the head gives them
    top: int
    left: int
    height: int
    width: int


class LeanEncoderDecoder(EncoderDecoder):
    """mmseg's segmentor for prediction: samples have ``pred_sem_seg`` and no ``seg_logits``."""

    @classmethod
    def take_over(cls, model: nn.Module) -> bool:
        """Turn ``model`` into one of this class, if it is a stock segmentor with a stock head.

        Subclasses and heads with ways of their own to predict stay. So does one class alone, whose
        map is the logits.
        """
        if type(model) is not EncoderDecoder:
            return False
        head = model.decode_head
        kind = type(head)
        stock = isinstance(head, BaseDecodeHead) and all(
            getattr(kind, name) is getattr(BaseDecodeHead, name)
            for name in ("predict", "predict_by_feat")
        )
        if not stock or model.out_channels == 1:
            return False
        model.__class__ = cls
        return True

    @torch.no_grad()
    def predict(self, inputs: Tensor, data_samples: Sequence[Any] | None = None) -> Sequence[Any]:
        """As mmseg's: (N, 3, H, W) and N samples or None to N samples with ``pred_sem_seg``."""
        from mmseg.structures import SegDataSample

        size = inputs.shape[2:]
        if data_samples is None:
            plain = {"ori_shape": size, "img_shape": size, "pad_shape": size}
            metas = [dict(plain) for _ in inputs]
            samples: Sequence[Any] = [SegDataSample() for _ in inputs]
        else:
            metas, samples = [sample.metainfo for sample in data_samples], data_samples
        windows = self._windows(inputs)
        for index, (sample, meta) in enumerate(zip(samples, metas, strict=True)):
            finish = None if data_samples is None else meta
            chunks = self._chunks(windows, index, size, metas, finish)
            sample.set_data({"pred_sem_seg": PixelData(data=_argmax(chunks))})
        return samples

    def _windows(self, inputs: Tensor) -> list[_Window]:
        """What the head finds in the whole input, or in each of the sliding windows."""
        height, width = inputs.shape[2:]
        if self.test_cfg.get("mode", "whole") == "whole":
            boxes = [(0, 0, height, width)]
        else:
            (crop_height, crop_width), (down, right) = self.test_cfg.crop_size, self.test_cfg.stride
            boxes = [
                (top, left, min(crop_height, height), min(crop_width, width))
                for top in _starts(height, crop_height, down)
                for left in _starts(width, crop_width, right)
            ]
        return [
            _Window(self._forward(inputs[:, :, y : y + h, x : x + w]).contiguous(), y, x, h, w)
            for y, x, h, w in boxes
        ]

    def _chunks(
        self,
        windows: Sequence[_Window],
        index: int,
        size: torch.Size,
        metas: Sequence[dict[str, Any]],
        meta: Mapping[str, Any] | None,
    ) -> Iterator[Tensor]:
        """Logits of picture ``index`` at its own size, (some classes, H, W) at a time.

        ``metas[0]`` decides the network's size for the whole batch, as in mmseg.
        """
        height, width = size if meta is None else meta["ori_shape"][:2]
        pixels = max(height * width, size[0] * size[1])
        count = max(1, _CHUNK_BYTES // (pixels * windows[0].logits.element_size()))
        for start in range(0, windows[0].logits.shape[1], count):
            part = slice(start, start + count)
            if self.test_cfg.get("mode", "whole") == "whole":
                logits = windows[0].logits[index : index + 1, part]
                logits = self.decode_head.predict_by_feat(logits, metas)
            else:
                logits = self._averaged(windows, index, part, size)
            yield logits[0] if meta is None else self._at_original_size(logits, meta)

    def _averaged(
        self, windows: Sequence[_Window], index: int, part: slice, size: torch.Size
    ) -> Tensor:
        first = windows[0].logits[index : index + 1, part]
        total, hits = first.new_zeros(first.shape[:2] + size), first.new_zeros(size)
        for window in windows:
            # mmseg takes a torch.Size for a window's.
            meta = {"img_shape": torch.Size((window.height, window.width))}
            rows = slice(window.top, window.top + window.height)
            columns = slice(window.left, window.left + window.width)
            logits = window.logits[index : index + 1, part]
            total[..., rows, columns] += self.decode_head.predict_by_feat(logits, [meta])
            hits[rows, columns] += 1
        return total.div_(hits)

    def _at_original_size(self, logits: Tensor, meta: Mapping[str, Any]) -> Tensor:
        """Without padding and flip, at the size of the picture's file."""
        left, right, top, bottom = meta.get(
            "img_padding_size", meta.get("padding_size", [0, 0, 0, 0])
        )
        height, width = logits.shape[2:]
        logits = logits[..., top : height - bottom, left : width - right]
        if meta.get("flip"):
            logits = logits.flip(3 if meta["flip_direction"] == "horizontal" else 2)
        return nn.functional.interpolate(
            logits, meta["ori_shape"][:2], mode="bilinear", align_corners=self.align_corners
        )[0]


def _starts(length: int, crop: int, stride: int) -> list[int]:
    """Where windows of ``crop`` begin, the last one moved back to the border."""
    count = max(length - crop + stride - 1, 0) // stride + 1
    return [max(min(number * stride + crop, length) - crop, 0) for number in range(count)]


def _argmax(chunks: Iterator[Tensor]) -> Tensor:
    """(1, H, W): the index of each position's largest value, counted through all chunks."""
    best = labels = None
    index = 0
    for chunk in chunks:
        for values in chunk:
            if best is None or labels is None:
                best, labels = values.clone(), torch.zeros_like(values, dtype=torch.int64)
            else:
                labels.masked_fill_(values > best, index)
                torch.maximum(best, values, out=best)
            index += 1
    assert labels is not None  # a head has classes
    return labels[None]
