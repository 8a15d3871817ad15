"""However many pictures pass, memory stays as it was after the first ones."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from PIL import Image
from torch import nn

from mmconvnext import Predictor
from mmconvnext.data.sources import list_sources
from mmconvnext.inference.category_ids import category_ids
from mmconvnext.inference.journal import Journal
from mmconvnext.inference.output import IMAGES, JOURNAL, finish
from mmconvnext.inference.run import FolderRun

SIDE = 16  # pixels


class Free(nn.Module):
    """Finds two objects, or one class, at no cost."""

    def test_step(self, batch: dict[str, Any]) -> list[Any]:
        for sample in batch["data_samples"]:
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor([[1.0, 1.0, 9.0, 9.0], [2.0, 3.0, 7.0, 12.0]]),
                scores=torch.tensor([0.9, 0.4]),
                labels=torch.tensor([0, 1]),
            )
            sample.pred_sem_seg = PixelData(data=torch.zeros(1, SIDE, SIDE, dtype=torch.long))
        return list(batch["data_samples"])


def many(folder: Path, count: int) -> Path:
    """A folder of ``count`` pictures that are one file."""
    folder.mkdir()
    first = folder / "00000.png"
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(first)
    for number in range(1, count):
        os.link(first, folder / f"{number:05}.png")
    return folder


@dataclasses.dataclass
class Watch:
    """Bytes that Python holds early and late in a run, by tenths of it: the fewest that were seen
    in a few looks, as those on their way differ from one picture to the next."""

    used: dict[int, int] = dataclasses.field(default_factory=dict)

    def look(self, done: int, total: int) -> None:
        """Called after each picture."""
        tenth, rest = divmod(done, total // 10)
        if tenth in (2, 9) and rest in (0, 4, 8, 12, 16):
            gc.collect()
            now, _ = tracemalloc.get_traced_memory()
            self.used[tenth] = min(now, self.used.get(tenth, now))


def peak_of(predictor: Predictor, folder: Path, out: Path, watch: Watch) -> int:
    """Predict all in ``folder``, watched, and complete ``out``; returns how many bytes more than
    before completing it takes."""
    listing = list_sources([str(folder)])
    ids = category_ids(predictor.legend.classes, {}, None)
    out.mkdir()
    with Journal(out / JOURNAL, {}) as journal:
        run = FolderRun(predictor, out, journal, ids.ids, progress=watch.look)
        run.run(listing.sources)
    gc.collect()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    assert finish(out, journal, predictor, ids, run.skipped) == len(listing.sources)
    return tracemalloc.get_traced_memory()[1] - before


@pytest.mark.parametrize(("task", "count"), [("detection", 2_000), ("segmentation", 500)])
def test_nothing_is_kept_of_a_picture_that_is_done(models, tmp_path, task, count):
    predictor = Predictor(*models[task], device="cpu")
    predictor.model = Free()
    folder, out, watch = many(tmp_path / "many", count), tmp_path / "out", Watch()
    gc.collect()
    gc.freeze()  # what is there already need not be looked through again and again
    tracemalloc.start()
    try:
        peak = peak_of(predictor, folder, out, watch)
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    # Room for what is on its way. Of 1,400 pictures the names alone would take more; of 350, maps.
    assert watch.used[9] - watch.used[2] < 100_000
    assert peak < 100_000  # the journal of 2,000 has five times as much
    assert len(json.loads((out / IMAGES).read_text())["images"]) == count
