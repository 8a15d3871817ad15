"""However many pictures pass, and however large shards are, memory stays as it was."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from sample_flat import Free, Watch, many

from mmconvnext import Predictor
from mmconvnext.inference.many.output import summarize
from mmconvnext.inference.many.plan import begin, divide
from mmconvnext.inference.many.sources import find_source
from mmconvnext.inference.many.worker import facts_of, predict_shard


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "size"), [("detection", 100), ("detection", 2_000), ("segmentation", 2_000)]
)
def test_nothing_is_kept_of_a_picture_that_is_done(models, tmp_path, task, size):
    grow_of(models, tmp_path, task, 2_000, size)


@pytest.mark.parametrize("size", [50, 500])
def test_nothing_is_kept_of_a_few_pictures_either(models, tmp_path, size):
    grow_of(models, tmp_path, "segmentation", 500, size)


def grow_of(models, tmp_path, task: str, count: int, size: int) -> None:
    predictor = Predictor(*models[task], device="cpu")
    predictor.model = Free()
    out, watch = tmp_path / "out", Watch()
    division = divide(find_source(str(many(tmp_path / "many", count))), size)
    plan = begin(out, division, facts_of(predictor), {}, "")
    gc.collect()
    gc.freeze()  # what is there already need not be looked through again and again
    tracemalloc.start()
    try:
        for number in range(len(plan)):
            before = number * size
            predict_shard(
                predictor,
                plan,
                plan.shard(number),
                out,
                progress=lambda done, before=before: watch.look(before + done, count),
            )
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    assert summarize(out, {})["pictures"] == count
    # Room for what is on its way, up to a row group of results: 256 of about 500 bytes.
    assert watch.used[9] - watch.used[2] < 250_000
