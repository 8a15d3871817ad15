"""Batches that begin in the middle; samples whose random numbers depend on their place alone."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader, Dataset

from mmconvnext.loops import positions
from mmconvnext.loops.positions import PositionedBatches, SeededBatch, take_positions


class Drawing(Dataset):
    """Its samples are what they are and what they draw."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        self.read.append(index)
        return index, random.random(), float(np.random.rand()), float(torch.rand(()))

    def get_data_info(self, index: int) -> dict[str, int]:
        return dict(width=index % 2, height=1)


def samples(seed: int = 3, batch_size: int = 2, workers: int = 0, begin: int = 0) -> list[tuple]:
    """Of one pass."""
    data = Drawing()
    loader = DataLoader(
        data,
        batch_size=batch_size,
        sampler=DefaultSampler(data, seed=5),
        num_workers=workers,
        collate_fn=list,
    )
    take_positions(loader).begin(begin, seed=seed, skipped=begin)
    return [sample for batch in loader for sample in batch]


def test_samples_draw_the_same_with_workers_and_without():
    alone = samples()
    assert samples(workers=2) == alone
    assert len({sample[1:] for sample in alone}) == 7  # each its own
    assert [s[0] for s in samples(seed=4)] == [s[0] for s in alone]
    assert not {s[1:] for s in samples(seed=4)} & {s[1:] for s in alone}


def test_a_batch_leaves_the_generators_as_they_were():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    wanted = random.random(), np.random.rand(), torch.rand(())
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    drawn = [random.random() for _ in SeededBatch([1, 2], (0, 0), range(2))]
    assert drawn[0] != drawn[1]
    assert (random.random(), np.random.rand(), torch.rand(())) == wanted

    with pytest.raises(KeyError):  # a sample that cannot be read
        [{}[index] for index in SeededBatch([1], (0, 0), range(1))]


def test_a_batch_travels_without_being_gone_through(monkeypatch):
    batch = SeededBatch([4, 2], (7, 1), range(0, 4, 2))
    monkeypatch.setattr(positions, "seed_cpu", lambda key: pytest.fail("seeded"))
    there = pickle.loads(pickle.dumps(batch))
    monkeypatch.undo()
    assert (list(there), there.key, there.places) == ([4, 2], (7, 1), range(0, 4, 2))


def test_two_processes_draw_what_one_with_twice_the_batch_draws(monkeypatch):
    one = {s[0]: s[1:] for s in samples(batch_size=4)[:4]}
    for rank in range(2):
        monkeypatch.setattr(positions, "get_dist_info", lambda rank=rank: (rank, 2))
        monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda rank=rank: (rank, 2))
        theirs = {s[0]: s[1:] for s in samples()[:2]}
        assert theirs.items() <= one.items()


@pytest.mark.parametrize("done", range(5))
def test_what_follows_a_break_is_what_would_have_followed(done):
    whole = samples()
    assert samples(begin=done) == whole[2 * done :]


def test_skipped_samples_are_not_read():
    data = Drawing()
    loader = DataLoader(data, batch_size=2, sampler=DefaultSampler(data, seed=5), collate_fn=list)
    take_positions(loader).begin(3, seed=0, skipped=3)
    assert len(list(loader)) == 1 and len(loader) == 4
    assert len(data.read) == 1


@pytest.mark.parametrize("sampler", [DefaultSampler, InfiniteSampler])
@pytest.mark.parametrize("done", [0, 1, 4, 7, 9])
def test_batches_go_on_over_the_ends_of_passes(sampler, done):
    def batches() -> PositionedBatches:
        return PositionedBatches(BatchSampler(sampler(Drawing(), seed=1), 2, drop_last=False))

    def take(source: PositionedBatches, number: int) -> list[tuple]:
        found: list[tuple] = []
        while len(found) < number:
            for batch in source:
                found.append((batch.key, list(batch)))
                if len(found) == number:
                    break
            else:
                source.next_pass()
        return found

    whole = batches()
    whole.begin(0, seed=0, skipped=0)
    later = batches()
    later.begin(done, seed=0, skipped=done)
    assert take(later, 6) == take(whole, done + 6)[done:]
    if sampler is DefaultSampler:
        assert later.sampler.epoch == (done + 6 - 1) // 4


def test_batches_of_like_shape_go_on_too():
    aspect = pytest.importorskip("mmdet.datasets.samplers").AspectRatioBatchSampler

    def batches() -> PositionedBatches:
        return PositionedBatches(aspect(DefaultSampler(Drawing(), seed=2), batch_size=2))

    whole, later = batches(), batches()
    whole.begin(0, seed=0, skipped=0)
    later.begin(2, seed=0, skipped=2)
    assert [(b.key, list(b)) for b in later] == [(b.key, list(b)) for b in whole][2:]


def test_nothing_comes_before_the_beginning_is_known():
    """mmengine's iteration-based loop starts its loader before the checkpoint is read."""
    batches = PositionedBatches(BatchSampler(InfiniteSampler(Drawing(), seed=1), 2, False))
    assert list(batches) == []
    with pytest.raises(AttributeError, match="unknown"):
        _ = batches.unknown
