"""However many pictures pass, memory stays as it was after the first ones."""

from __future__ import annotations

import gc
import json
import tracemalloc
from pathlib import Path

import pytest
from sample_flat import Free, Watch, many

from mmconvnext import Predictor
from mmconvnext.data.sources import list_sources
from mmconvnext.inference.category_ids import category_ids
from mmconvnext.inference.journal import Journal
from mmconvnext.inference.output import IMAGES, JOURNAL, finish
from mmconvnext.inference.run import FolderRun


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
