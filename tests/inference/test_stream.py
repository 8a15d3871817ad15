from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from mmconvnext.inference.pictures import PictureError
from mmconvnext.inference.stream import map_ahead, predict_stream


class Fake:
    """Predicts a number's double; tens cannot be read, 7 is too small for the network."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def prepare(self, picture: int) -> SimpleNamespace:
        if picture % 10 == 0:
            raise PictureError(f"picture {picture} cannot be read")
        return SimpleNamespace(number=picture)

    def predict(self, prepared) -> list[int]:
        self.batches.append([item.number for item in prepared])
        if 7 in self.batches[-1]:
            raise ValueError("expected more\npixels")
        return [2 * item.number for item in prepared]


@pytest.fixture
def pool():
    with ThreadPoolExecutor(3) as pool:
        yield pool


@pytest.mark.parametrize("batch_size", [1, 4])
def test_every_picture_comes_once_in_order_with_what_is_wrong_with_it(pool, batch_size):
    fake = Fake()
    numbers = [(f"n{n}", n) for n in range(1, 24)]
    found = list(predict_stream(fake, numbers, pool, batch_size=batch_size))
    assert [outcome.key for outcome in found] == [key for key, _ in numbers]
    for outcome, (_, number) in zip(found, numbers, strict=True):
        if number in (7, 10, 20):
            assert outcome.prediction is None and isinstance(outcome.error, PictureError)
        else:
            assert outcome.prediction == 2 * number and outcome.error is None
    assert str(found[6].error) == "the network fails on it: expected more pixels"
    assert max(map(len, fake.batches)) == batch_size


def test_only_so_many_are_taken_ahead(pool):
    taken = 0

    def numbers():
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    for done, value in enumerate(map_ahead(pool, lambda n: n * n, numbers(), 5), 1):
        assert value == (done - 1) ** 2 and taken <= done + 4


def test_they_run_at_the_same_time(pool):
    barrier = threading.Barrier(3, timeout=10)
    assert list(map_ahead(pool, lambda n: barrier.wait() >= 0, range(3), 3)) == [True] * 3


def test_an_error_comes_through(pool):
    with pytest.raises(ZeroDivisionError):
        list(map_ahead(pool, lambda n: 1 // n, [1, 0], 4))
