"""Predictions of any number of pictures, with only a few in memory."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import torch

from mmconvnext.inference.pictures import PictureError
from mmconvnext.inference.predictions import Detections, Segmentation
from mmconvnext.inference.predictor import Prepared

Key = TypeVar("Key")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Predicts(Protocol):
    """A :class:`~mmconvnext.Predictor`, or something that stands before one."""

    def prepare(self, picture: Any) -> Prepared:
        """Read a picture and make it ready for the network."""

    def predict(self, prepared: Sequence[Prepared]) -> list[Detections | Segmentation]:
        """What is in each of those pictures."""


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome(Generic[Key]):
    """What came of one picture.

    Args:
        key: the caller's name for it.
        prepared: the picture as it was read; None if it could not be.
        prediction: what is in it; None if there is an error.
        error: why it could not be read, or was too small or too large for the network.
    """

    key: Key
    prepared: Prepared | None = None
    prediction: Detections | Segmentation | None = None
    error: PictureError | None = None


def predict_stream(
    predictor: Predicts,
    pictures: Iterable[tuple[Key, Any]],
    pool: Executor,
    *,
    batch_size: int = 1,
    ahead: int = 4,
) -> Iterator[Outcome[Key]]:
    """The outcome of each of ``pictures``, in their order.

    Args:
        predictor: finds what is in them.
        pictures: a key and a picture each, such as ``predictor.prepare`` takes; taken one by one,
            as room is made.
        pool: its threads read pictures while the network works.
        batch_size: pictures that go through the network together, if they are of one size.
        ahead: pictures that are read in advance, at least one batch.
    """

    def prepare(item: tuple[Key, Any]) -> Outcome[Key]:
        key, picture = item
        try:
            return Outcome(key, predictor.prepare(picture))
        except PictureError as error:
            return Outcome(key, error=error)

    ready = map_ahead(pool, prepare, pictures, max(ahead, batch_size))
    while batch := list(islice(ready, batch_size)):
        yield from _predicted(predictor, batch)


def _predicted(predictor: Predicts, batch: list[Outcome[Key]]) -> Iterator[Outcome[Key]]:
    readable = [outcome.prepared for outcome in batch if outcome.prepared is not None]
    try:
        predictions = iter(predictor.predict(readable))
    except (ValueError, torch.cuda.OutOfMemoryError) as error:
        if len(batch) > 1:  # one of them is too small, or all together are too large
            for outcome in batch:
                yield from _predicted(predictor, [outcome])
            return
        text = " ".join(str(error).split())
        yield Outcome(batch[0].key, error=PictureError(f"the network fails on it: {text}"))
        return
    for outcome in batch:
        if outcome.prepared is None:
            yield outcome
        else:
            yield dataclasses.replace(outcome, prediction=next(predictions))


def map_ahead(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """``function`` of each of ``items``, in their order, computed in ``pool``; at most ``ahead``
    of them have been started and not been asked for."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
