"""Where in the data a training is, and random numbers that depend on nothing but that.

A sample's augmentation is drawn from generators seeded by the run's seed and the sample's place in
the whole training. It is the same with any number of workers and processes, and the same again
when a training that was broken off goes on from there, without reading what came before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from mmengine.dist import get_dist_info
from torch.utils.data import DataLoader

from mmconvnext.loops.generators import seed_cpu, untouched


class SeededBatch(list[int]):
    """The samples of one batch. Going through them, as a loader does in its worker, seeds the
    generators for each in turn, and leaves them as they were.

    Args:
        indices: of the data set.
        key: what distinguishes this batch from others; numbers of 0 and above.
        places: of the samples, in the batch over all processes.
    """

    def __init__(self, indices: Iterable[int], key: tuple[int, ...], places: range) -> None:
        super().__init__(indices)
        self.key, self.places = key, places

    def __iter__(self) -> Iterator[int]:
        with untouched(gpu=False):
            for place, index in zip(self.places, super().__iter__(), strict=False):
                seed_cpu((*self.key, place))
                yield index

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        # On its way to a worker nobody shall go through it as above.
        return SeededBatch, (list(super().__iter__()), self.key, self.places)


class PositionedBatches:
    """A batch sampler that knows where it is and can begin in the middle. Before :meth:`begin` it
    gives no batches. The sampler's other attributes are within reach.

    Args:
        batches: gives lists of indices, and the same ones again for the same epoch and seed.
    """

    def __init__(self, batches: Any) -> None:
        self.batches = batches
        self.passes = 0
        self._seed = 0
        self._number = 0  # of the next batch, from the beginning of the training
        self._rest: Iterator[list[int]] | None = iter(())

    def begin(self, number: int, *, seed: int, skipped: int) -> None:
        """The next pass gives batch ``number`` of the training first.

        Args:
            number: from 0 on.
            seed: the run's.
            skipped: so many batches of the current pass, and of following ones if it ends, have
                been given already; they are gone through without a sample being read.
        """
        self._seed, self._number, self.passes = seed, number, 0
        self._rest = iter(self.batches)
        while (skipped := skipped - sum(1 for _ in islice(self._rest, skipped))) > 0:
            self.next_pass()
            self._rest = iter(self.batches)

    def next_pass(self) -> None:
        """One pass has ended; the sampler's order is that of another epoch from here on."""
        self.passes += 1
        if hasattr(self.batches.sampler, "set_epoch"):
            self.batches.sampler.set_epoch(self.passes)

    def __iter__(self) -> Iterator[SeededBatch]:
        rank, processes = get_dist_info()
        rest = iter(self.batches) if self._rest is None else self._rest
        self._rest = None
        for indices in rest:
            places = range(rank, rank + processes * len(indices), processes)
            yield SeededBatch(indices, (self._seed, self._number), places)
            self._number += 1

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        if name == "batches":  # a copy that is not filled yet
            raise AttributeError(name)
        return getattr(self.batches, name)


def take_positions(loader: DataLoader) -> PositionedBatches | None:
    """Have ``loader``, which has not given anything yet, go by :class:`PositionedBatches`.

    Returns:
        they; None for a loader without a batch sampler, whose data come in an order of their own.
    """
    if loader.batch_sampler is None:
        return None
    positions = PositionedBatches(loader.batch_sampler)
    # Loaders refuse this, as one that is running would not notice. A new loader with this sampler
    # would lack `sampler` and `batch_size`, which hooks read.
    object.__setattr__(loader, "batch_sampler", positions)
    return positions
