from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from mmconvnext.hooks.tracing import Trace, trace_step


class Small(nn.Module):
    """Two layers and a ``train_step`` as mmengine's models have it.

    Args:
        loss: made of the second layer's output.
    """

    def __init__(self, loss: Callable[[Small, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
        self.scale = nn.Parameter(torch.ones(1))
        self.loss = loss

    def forward(self, x: Tensor) -> Tensor:
        return self.loss(self, self.layers(x))

    def train_step(self, data: Tensor, optim_wrapper) -> dict[str, Tensor]:
        with optim_wrapper.optim_context(self):
            loss = self(data)
        optim_wrapper.update_params(loss)
        return {"loss": loss, "loss_part": loss * 2}


INPUT = torch.tensor([[1.0, 2, 3], [-1, 0, 1]])


def trace(model: Small, data: Tensor = INPUT, **settings) -> Trace:
    return trace_step(model, model.train_step, data, lambda _: nullcontext(), **settings)


def test_outputs_are_seen_from_the_inside_out_with_their_figures():
    model = Small(lambda _, y: y.square().mean())
    seen = trace(model).forward
    assert [each.place for each in seen] == ["layers.0", "layers.1", "layers.2", "layers", ""]
    assert [each.kind for each in seen] == ["Linear", "ReLU", "Linear", "Sequential", "Small"]
    first = model.layers[0](INPUT)
    assert (seen[0].low, seen[0].high) == (float(first.min()), float(first.max()))
    assert (seen[1].low, seen[1].finite) == (0.0, 1.0)


def test_gradients_are_those_of_the_step_and_weights_stay():
    model = Small(lambda _, y: y.square().mean())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = trace(model)
    assert found.first is None and found.error is None and not found.bad_losses
    expected = torch.autograd.grad(model(INPUT), model.layers[0].weight)[0]
    assert torch.equal(model.layers[0].weight.grad, expected)
    (seen,) = [each for each in found.backward if each.place == "layers.0.weight"]
    assert (seen.low, seen.high) == (float(expected.min()), float(expected.max()))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model._forward_hooks and not model.scale._backward_hooks


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (
            lambda model, y: y.mean() + torch.sqrt(model.scale * 0).sum(),
            "first non-finite gradient: scale (Small), 100 % of its values",
        ),
        (
            lambda model, y: torch.sqrt(y * 0).mean() + model.scale.sum(),
            "first non-finite gradient: of the output of layers.2 (Linear), 100 % of its values",
        ),
    ],
)
def test_a_gradient_that_is_not_finite_is_named(loss, said):
    assert str(trace(Small(loss)).first) == said


def test_of_values_that_are_not_finite_the_share_and_the_others_are_told():
    data = INPUT.clone()
    data[0, 0] = torch.inf
    found = trace(Small(lambda _, y: y.square().mean()), data)
    assert found.first == found.forward[0]
    row = Small(lambda _, y: y).layers[0](INPUT[1:])
    assert (found.first.low, found.first.high) == (float(row.min()), float(row.max()))
    assert found.first.finite == 0.5 and not found.backward
    assert list(found.bad_losses) == ["loss_part"]


def test_without_backward_no_gradient_is_made():
    model = Small(lambda _, y: y.mean())
    assert not trace(model, backward=False).backward
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_error_that_ends_a_step_is_kept():
    def fail(model, y):
        raise ValueError("no")

    found = trace(Small(fail))
    assert str(found.error) == "no" and [each.place for each in found.forward][-1] == "layers"
