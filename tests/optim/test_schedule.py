from __future__ import annotations

import math

import numpy as np
import pytest

from mmconvnext.optim.schedule import Length, rates_over_schedule

ITERATIONS = Length(10, 10, by_epoch=False)
EPOCHS = Length(12, 4, by_epoch=True)


def test_warm_up_then_cosine_by_iteration() -> None:
    schedulers = [
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 3},
        {"type": "CosineAnnealingLR", "by_epoch": False, "begin": 3, "end": 10, "T_max": 7},
    ]
    found = rates_over_schedule([1.0, 0.5], schedulers, ITERATIONS)
    factors = [0.1 + 0.9 * i / 2 for i in range(3)]
    factors += [(1 + math.cos(math.pi * i / 7)) / 2 for i in range(7)]
    np.testing.assert_allclose(found, np.outer(factors, [1.0, 0.5]), rtol=1e-12)


def test_steps_by_epoch_and_warm_up_by_iteration() -> None:
    schedulers = [
        {"type": "LinearLR", "start_factor": 0.5, "by_epoch": False, "begin": 0, "end": 2},
        {"type": "MultiStepLR", "by_epoch": True, "milestones": [1, 2], "gamma": 0.1},
    ]
    found = rates_over_schedule([1.0], schedulers, EPOCHS)[:, 0]
    expected = [0.5, 1, 1, 1, *[0.1] * 4, *[0.01] * 4]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_epochs_made_into_iterations() -> None:
    scheduler = {"type": "PolyLR", "eta_min": 0.0, "by_epoch": True, "convert_to_iter_based": True}
    found = rates_over_schedule([1.0], [{**scheduler, "end": 3}], EPOCHS)[:, 0]
    np.testing.assert_allclose(found, 1 - np.arange(12) / 11, atol=1e-12)


def test_without_schedulers_and_with_momentums_the_rates_stay() -> None:
    assert (rates_over_schedule([1.0, 2.0], [], ITERATIONS) == [1.0, 2.0]).all()
    momentum = {"type": "StepMomentum", "step_size": 1}
    assert (rates_over_schedule([1.0], [momentum], ITERATIONS) == 1.0).all()


def test_epochs_that_a_loop_of_iterations_does_not_count_change_nothing() -> None:
    step = {"type": "MultiStepLR", "by_epoch": True, "milestones": [1], "end": 2}
    assert (rates_over_schedule([1.0], [step], Length(8, 4, by_epoch=False)) == 1.0).all()


@pytest.mark.parametrize(
    ("scheduler", "line"),
    [
        ({"type": "ReduceOnPlateauLR", "monitor": "loss"}, "depend on what validations find"),
        ({"type": "NoSuchLR"}, "no scheduler type 'NoSuchLR'"),
    ],
)
def test_what_cannot_be_known_is_named(scheduler, line) -> None:
    with pytest.raises(ValueError, match=line):
        rates_over_schedule([1.0], [scheduler], ITERATIONS)
