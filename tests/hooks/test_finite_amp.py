"""Mixed precision: the gradient scaler leaves steps out by itself."""

from __future__ import annotations

import pytest
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from sample_guarded_runs import AfterEach, Network, make_runner, pictures, same, weights

from mmconvnext.hooks import FiniteGuardHook, NonFiniteError


class CpuAmp(AmpOptimWrapper):
    """mmengine's, which refuses to be made without a GPU."""

    def __init__(self, model: Network, scale: float | None, fused: bool) -> None:
        OptimWrapper.__init__(self, torch.optim.SGD(model.parameters(), lr=0.1, fused=fused))
        self._scale_update_param, self.cast_dtype = scale, torch.bfloat16
        self.loss_scaler = torch.amp.GradScaler("cpu", init_scale=scale or 2.0**16)


def run(
    tmp_path,
    kind: str,
    at: list[int],
    guard: FiniteGuardHook,
    count: int = 8,
    scale: float | None = None,
    fused: bool = False,
) -> list:
    """Trains, with a ``scale`` that stays or with mmengine's dynamic one; returns weights and scale
    after each iteration."""
    torch.manual_seed(5)
    model = Network(kind, at)
    wrapper = CpuAmp(model, scale, fused)
    after: list = []

    def note(runner) -> None:
        after.append((weights(runner.model), wrapper.loss_scaler.get_scale()))

    make_runner(
        tmp_path, model, pictures(count), guard, optim_wrapper=wrapper, hooks=[AfterEach(note)]
    ).train()
    return after


def test_a_step_that_the_scaler_leaves_out_is_its_business(tmp_path):
    after = run(tmp_path, "gradient", [1], FiniteGuardHook("stop"))
    assert [scale for _, scale in after[:4]] == [2.0**16, 2.0**15, 2.0**15, 2.0**15]
    assert torch.equal(after[1][0]["head.weight"], after[0][0]["head.weight"])
    assert not torch.equal(after[2][0]["head.weight"], after[1][0]["head.weight"])
    assert not list(tmp_path.glob("nonfinite*"))


def test_a_loss_that_is_not_finite_is_not(tmp_path):
    with pytest.raises(NonFiniteError, match="iteration 2: loss_cls = nan; first non-finite out"):
        run(tmp_path, "output", [1], FiniteGuardHook("stop"))


def test_a_skipped_batch_leaves_weights_and_scale_as_they_were(tmp_path):
    after = run(tmp_path, "output", [1], FiniteGuardHook("skip"))
    assert same(after[1][0], after[0][0]) and after[1][1] == after[0][1]
    assert not same(after[2][0], after[1][0])


@pytest.mark.parametrize(("scale", "fused"), [(None, False), (512.0, False), (None, True)])
def test_a_scaler_that_leaves_out_step_after_step_stops_the_training(tmp_path, scale, fused):
    guard = FiniteGuardHook("skip")
    with pytest.raises(NonFiniteError) as stopped:
        run(tmp_path, "gradient", list(range(99)), guard, 80, scale, fused)
    line = str(stopped.value)
    assert line.startswith("iteration 20: gradients of 20 steps in a row, down to a loss scale of ")
    assert "first non-finite gradient: of the input of stem.2 (Trouble)" in line


def test_steps_left_out_now_and_then_do_not(tmp_path):
    often = [number for number in range(40) if number % 19]
    run(tmp_path, "gradient", often, FiniteGuardHook("stop"), 80)
