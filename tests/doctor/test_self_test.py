"""The self-test passes here, and finds an operator that computes something else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import mmconvnext  # noqa: F401  (mmcv's operators)
from mmconvnext.doctor import self_test


def test_network_is_fine_here() -> None:
    assert self_test.network().state == "green"


def test_a_wrong_convolution_is_found(monkeypatch) -> None:
    right = F.layer_norm
    monkeypatch.setattr(F, "layer_norm", lambda x, *rest: right(x, *rest) * 1.001)
    finding = self_test.network()
    assert finding.state == "red" and "maps on cpu: expected [0.979" in finding.found
    assert finding.mend == "pip install -U torch torchvision"


def test_a_wrong_gradient_is_found(monkeypatch) -> None:
    class Half(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad * 0.99

    right = F.layer_norm
    monkeypatch.setattr(F, "layer_norm", lambda x, *rest: Half.apply(right(x, *rest)))
    finding = self_test.network()
    assert finding.state == "red" and "gradient on cpu" in finding.found


def test_operators_are_fine_here_and_torchvisions_alone() -> None:
    pytest.importorskip("mmcv")
    assert self_test.operators().found == "mmcv.ops: NMS and RoIAlign on cpu"
    theirs = self_test.operators_of("torchvision.ops", "cpu")
    assert theirs == self_test.operators_of("mmcv.ops", "cpu")


@pytest.mark.parametrize(
    ("kept", "bins", "gradient", "line"),
    [
        ([2, 0], [16.5, 18.5, 36.5, 38.5], 4.0, "nms on cpu: expected [2, 0, 4], found [2, 0]"),
        ([2, 0, 4], [16.5, 18.5, 36.5, 38.6], 4.0, "RoIAlign on cpu: expected [16.5"),
        ([2, 0, 4], [16.5, 18.5, 36.5, 38.5], 0.0, "RoIAlign's gradient on cpu"),
        ([2, 0, 4], [16.5, 18.5, 36.5, float("nan")], 4.0, "found [16.5, 18.5, 36.5, nan]"),
    ],
)
def test_broken_operators_are_found(monkeypatch, kept, bins, gradient, line) -> None:
    monkeypatch.setattr(self_test, "operators_of", lambda *_: (kept, bins, gradient))
    finding = self_test.operators()
    assert finding.state == "red" and line in finding.found
    assert finding.mend.startswith("pip install --force-reinstall torch torchvision")


def test_checkpoints() -> None:
    assert self_test.checkpoints().state == "green"


def test_registries() -> None:
    if self_test.carriers("mmdet"):
        assert self_test.registries().state == "green"
    assert self_test.judge_registries({"mmdet": [True, True]}).state == "green"
    lost = self_test.judge_registries({"mmdet": [True, True], "mmseg": [True, False]})
    assert (lost.state, lost.found) == ("red", "ConvNeXt is not in the model registry of mmseg")
    assert self_test.judge_registries({}).state == "yellow"
