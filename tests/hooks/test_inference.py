from __future__ import annotations

from types import SimpleNamespace

import torch
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel

from mmconvnext.backbones import ConvNeXt
from mmconvnext.hooks import FastTestHook
from mmconvnext.inference.block import FusedBlock
from mmconvnext.registry import HOOKS


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.backbone = ConvNeXt({"depths": [1], "channels": [8]}, out_indices=0)

    def forward(self, x):
        return self.backbone(x)


def test_replaces_the_model_for_the_test_only():
    model = Model()
    runner = SimpleNamespace(model=model)
    hook = HOOKS.build({"type": "FastTestHook"})
    hook.before_test_epoch(runner)
    assert runner.model is not model
    assert isinstance(runner.model.backbone.stages[0][0], FusedBlock)
    hook.after_test_epoch(runner, {})
    assert runner.model is model and model.backbone.stages[0][0].gamma.requires_grad


def test_fuses_averaged_weights_where_they_are_tested():
    model = Model()
    runner = SimpleNamespace(model=model, logger=None)
    ema, fast = EMAHook(), FastTestHook()
    ema.before_run(runner)
    with torch.no_grad():
        for parameter in ema.ema_model.parameters():
            parameter.normal_()
    averaged = {name: value.clone() for name, value in ema.ema_model.module.state_dict().items()}
    own = {name: value.clone() for name, value in model.state_dict().items()}
    # the runner's order, by priority
    assert [h.priority for h in (ema, fast)] == ["NORMAL", "VERY_LOW"]
    ema.before_test_epoch(runner)
    fast.before_test_epoch(runner)
    expected = Model().eval()
    expected.load_state_dict(averaged)
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(runner.model(x), expected(x), rtol=1e-4, atol=1e-4)
    ema.after_test_epoch(runner)
    fast.after_test_epoch(runner)
    assert runner.model is model
    assert all(torch.equal(own[name], value) for name, value in model.state_dict().items())
