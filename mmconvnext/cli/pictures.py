"""``--show-dir``: a hook that paints what was predicted, for detection and segmentation alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook


class PaintHook(Hook):
    """Saves every tested picture with its prediction beside the ground truth.

    mmdet's and mmseg's own hooks paint at their own intervals and into folders of their own making;
    both packages' visualizers, however, paint one sample into one named file.

    Args:
        folder: where the pictures go, one PNG each, named after the picture; made if absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: set[str] = set()

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None
    ) -> None:
        """Paint the batch's samples."""
        import mmcv

        for number, sample in enumerate(outputs or ()):
            name = Path(sample.img_path).stem
            if name in self._names:  # the same file name in two folders
                name = f"{name}_{batch_idx}_{number}"
            self._names.add(name)
            runner.visualizer.add_datasample(
                name,
                mmcv.imread(sample.img_path, channel_order="rgb"),
                data_sample=sample,
                out_file=str(self.folder / f"{name}.png"),
            )
