"""Whole models: their own files, those of other layouts, and files of a backbone alone."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.model import BaseModule
from mmengine.runner import load_checkpoint as mmengines
from sample_checkpoints import (
    CHANNELS,
    DEPTHS,
    TINY,
    WITH_GRN,
    assert_same,
    error_of,
    foreign,
    network,
    randomised,
)
from torch import Tensor, nn

from mmconvnext import ConvNeXt, load_checkpoint
from mmconvnext.checkpoints.for_mmengine import averaged
from mmconvnext.checkpoints.formats import FORMATS

MMPRETRAIN = next(known for known in FORMATS if known.name == "mmpretrain")
TIMM = next(known for known in FORMATS if known.name == "timm")


class Detector(nn.Module):
    def __init__(self, seed: int = 0, classes: int = 2, **kwargs) -> None:
        super().__init__()
        self.backbone = network(seed, **kwargs)
        self.head = randomised(nn.Linear(4, classes), seed + 100)
        self.eval()


@pytest.fixture
def log(monkeypatch) -> list[str]:
    from mmengine.logging import MMLogger

    lines: list[str] = []
    monkeypatch.setattr(MMLogger, "info", lambda self, message: lines.append(message))
    return lines


def prefixed(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in weights.items()}


def but_norms(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if not key.startswith("norm")}


def assert_backbone(model: nn.Module, source: nn.Module, norms: bool = True) -> None:
    found, expected = model.backbone.state_dict(), source.backbone.state_dict()
    assert_same(*(map(but_norms, (found, expected)) if not norms else (found, expected)))


def test_whole_models_load_with_the_backbone_in_another_layout(save, log):
    source, model = Detector(0), Detector(1)
    weights = prefixed(foreign(source.backbone.state_dict(), MMPRETRAIN), "backbone.")
    weights |= prefixed(source.head.state_dict(), "head.")
    report = load_checkpoint(model, save({"state_dict": weights}))
    assert (report.format, report.dropped, report.afresh) == ("mmpretrain", {}, ())
    assert_same(model.state_dict(), source.state_dict())
    assert log == [f"Detector: {report}"]
    other = Detector(2)
    other.load_state_dict(weights)  # torch's own takes it as well
    assert_same(other.state_dict(), source.state_dict())


def test_a_whole_model_is_loaded_strictly_unless_told(save):
    source, model = Detector(0), Detector(1)
    weights = source.state_dict()
    del weights["head.bias"]
    assert "1 missing from it (head.bias)" in error_of(load_checkpoint, model, save(weights))
    report = load_checkpoint(model, save(weights), strict=False)
    assert report.afresh == ("head.bias",)
    foreign = {"layer1.conv1.weight": torch.ones(1)}
    error = error_of(lambda: load_checkpoint(model, save(foreign), strict=False))
    assert "none of its keys is Detector's" in error
    with pytest.raises(ValueError, match=r"1 missing from it \(head.bias\)"):
        mmengines(model, save(weights), strict=True)


def test_a_backbone_alone_loads_like_a_model(save):
    source, net = network(0), network(1)
    weights = foreign(source.state_dict(), MMPRETRAIN)
    load_checkpoint(net, save(weights))
    assert_same(net.state_dict(), source.state_dict())
    other = network(2)
    mmengines(other, save(weights))
    assert_same(other.state_dict(), source.state_dict())


@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.name)
@pytest.mark.parametrize("prefix", ["", "visual.trunk.", "module.student."])
def test_a_backbones_file_of_any_layout_loads_into_a_model(known, prefix, save, log):
    use_grn = known.name in WITH_GRN
    source, model = Detector(0, use_grn=use_grn), Detector(1, use_grn=use_grn)
    untouched = {k: v.clone() for k, v in model.state_dict().items() if k.startswith("head")}
    weights = prefixed(foreign(source.backbone.state_dict(), known), prefix)
    weights |= {prefix + "head.fc.weight": torch.ones(3, 3)}
    file = save({"model": weights})
    mmengines(model, file)
    assert_backbone(model, source, norms=False)
    assert_same(prefixed(model.head.state_dict(), "head."), untouched)
    assert len(log) == 1
    assert log[0].startswith(f"Detector: {len(weights) - 1} tensors (0.0 M parameters) from {file}")
    assert f"({known.name})" in log[0] and "dropped, classifier: 1 (" in log[0]
    afresh = len(model.state_dict()) - len(weights) + 1
    assert f"; initialised afresh: {afresh} (" in log[0]


def test_a_students_model_is_taken_out_of_a_file(save, log):
    source, teacher, model = Detector(0), Detector(5), Detector(1)
    weights = prefixed(source.state_dict(), "student.") | prefixed(teacher.state_dict(), "teacher.")
    mmengines(model, save({"state_dict": weights}))
    assert_same(model.state_dict(), source.state_dict())
    count = len(teacher.state_dict())
    assert f"dropped, of another network: {count} (teacher.backbone." in log[0]


def test_a_detectors_file_loads_into_student_and_teacher(save):
    """mmdet's semi-supervised models rename the keys themselves."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student, self.teacher = Detector(1), Detector(2)

        def _load_from_state_dict(self, state_dict, *args):
            if not any("student" in key for key in state_dict):
                for key in list(state_dict):
                    value = state_dict.pop(key)
                    state_dict |= {f"student.{key}": value, f"teacher.{key}": value}
            super()._load_from_state_dict(state_dict, *args)

    source, both = Detector(0), Both()
    mmengines(both, save({"state_dict": source.state_dict()}))
    for model in (both.student, both.teacher):
        assert_same(model.state_dict(), source.state_dict())
    backbone, both = Detector(3), Both()
    mmengines(both, save(foreign(backbone.backbone.state_dict(), TIMM)))
    for model in (both.student, both.teacher):
        assert_backbone(model, backbone, norms=False)


def test_a_head_of_another_number_of_classes_is_left_out_and_told(save, log):
    source, model = Detector(0), Detector(1, classes=3)
    head = {key: value.clone() for key, value in model.head.state_dict().items()}
    mmengines(model, save(source.state_dict()))
    assert_backbone(model, source)
    assert_same(model.head.state_dict(), head)
    assert "dropped, of another shape: 2 (head.weight (2, 4) instead of (3, 4), " in log[0]


def test_no_model_is_left_with_a_random_backbone(save):
    model = Detector(1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    file = save(prefixed(Detector(0).head.state_dict(), "head."))
    for read in (mmengines, lambda model, file: load_checkpoint(model, file, strict=False)):
        error = error_of(read, model, file)
        assert (
            f"checkpoint {file}: expected weights of Detector's ConvNeXt under 'backbone.'" in error
        )
        assert "such as backbone.norm" in error or "such as backbone.downsample_layers" in error
    assert_same(model.backbone.state_dict(), network(1).state_dict())
    foreign = save({"layer1.conv1.weight": torch.ones(1)})
    assert "none of its keys is Detector's" in error_of(mmengines, model, foreign)
    assert_same(
        {k: v for k, v in model.state_dict().items() if k.startswith("backbone")},
        {k: v for k, v in before.items() if k.startswith("backbone")},
    )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"use_grn": True}, "expected V1 with depths 1-2-3-1 and channels 4-8-12-16, found V2 "),
        ({"in_channels": 4}, "its stem takes 4 input channels, the model's 3; set in_channels=4"),
    ],
)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "backbone"])
def test_another_network_is_refused(kwargs, message, whole, save):
    source = Detector(0, **kwargs)
    weights = source.state_dict() if whole else foreign(source.backbone.state_dict(), TIMM)
    file = save(weights)
    error = error_of(mmengines, Detector(1), file)
    assert message in error and str(file) in error


def test_several_networks_are_refused(save):
    weights = prefixed(network(0).state_dict(), "a.") | prefixed(network(1).state_dict(), "b.")
    error = error_of(mmengines, Detector(2), save(weights))
    assert "expected one network, found 2, under 'a.', 'b.'" in error


def test_two_networks_of_a_model_need_two_in_the_file(save):
    class Two(Detector):
        def __init__(self, seed: int) -> None:
            super().__init__(seed)
            self.aux = network(seed + 1)

    source, model = Two(0), Two(5)
    mmengines(model, save(source.state_dict()))
    assert_same(model.state_dict(), source.state_dict())
    error = error_of(mmengines, model, save(Detector(0).state_dict()))
    assert "expected weights of Two's ConvNeXt under 'aux.'" in error


def test_models_without_a_convnext_load_as_ever(save, caplog):
    model = nn.Linear(2, 2)
    with caplog.at_level(logging.WARNING):
        mmengines(model, save({"other": torch.ones(1)}), logger=logging.getLogger("x"))
    assert "unexpected key in source state_dict: other" in caplog.text


def test_wrapped_models_are_loaded(save):
    source, model = Detector(0), Detector(1)
    mmengines(nn.DataParallel(model), save(foreign(source.backbone.state_dict(), TIMM)))
    assert_backbone(model, source, norms=False)


def test_versions_of_layers_are_told_to_them(save):
    seen = []

    class Versioned(Detector):
        _version = 3

        def _load_from_state_dict(self, state_dict, prefix, metadata, *args):
            seen.append(metadata.get("version"))
            super()._load_from_state_dict(state_dict, prefix, metadata, *args)

    mmengines(Versioned(1), save({"state_dict": Versioned(0).state_dict()}))
    wrapped = nn.DataParallel(Versioned(0)).state_dict()
    mmengines(Versioned(1), save({"state_dict": wrapped}))
    assert seen == [3, 3]


def test_an_ema_hook_starts_from_a_backbones_file(save):
    """It loads the file into a copy of the model by itself."""
    source, model = Detector(0), Detector(1)
    runner = SimpleNamespace(model=model, _resume=False)
    hook = EMAHook()
    hook.before_run(runner)
    content = {"state_dict": foreign(source.backbone.state_dict(), TIMM)}
    hook.after_load_checkpoint(runner, content)
    assert_backbone(hook.ema_model.module, source, norms=False)


def test_averaged_weights_are_read_on_demand(save):
    trained, mean, model = Detector(0), Detector(1), Detector(2)
    content = {"state_dict": trained.state_dict(), "state_dict_ema": mean.state_dict()}
    file = save(content)
    mmengines(model, file)
    assert_same(model.state_dict(), trained.state_dict())
    with averaged():
        mmengines(model, file)
    assert_same(model.state_dict(), mean.state_dict())
    load_checkpoint(model, file)
    load_checkpoint(model, file, ema=True)
    assert_same(model.state_dict(), mean.state_dict())
    with averaged():
        error = error_of(mmengines, model, save(trained.state_dict()))
    assert "expected averaged weights under model_ema or state_dict_ema" in error


def test_averaged_weights_of_other_networks_are_read_on_demand(save):
    trained, mean = {"weight": torch.zeros(1, 1)}, {"weight": torch.ones(1, 1)}
    model = nn.Linear(1, 1, bias=False)
    file = save({"model": trained, "state_dict": trained, "model_ema": mean})
    with averaged():
        mmengines(model, file)
    assert_same(model.state_dict(), mean)


def test_others_networks_with_such_parts_keep_their_names(save):
    """An installed mmpretrain's ConvNeXt, say."""

    class Theirs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.downsample_layers = nn.ModuleList([nn.Conv2d(3, 4, 4)])
            block = nn.Module()
            block.depthwise_conv = nn.Conv2d(4, 4, 7, groups=4)
            self.stages = nn.ModuleList([nn.Sequential(block)])

    class Model(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.backbone = randomised(Theirs(), seed)

    source, model = Model(0), Model(1)
    mmengines(model, save({"state_dict": source.state_dict()}), strict=True)
    assert_same(model.state_dict(), source.state_dict())


def test_init_cfg_of_a_whole_model(save):
    class Model(BaseModule):
        def __init__(self, **kwargs) -> None:
            super().__init__(**kwargs)
            self.backbone = ConvNeXt({"depths": DEPTHS, "channels": CHANNELS})

    source = Detector(0)
    assert source.backbone.depths == tuple(TINY["depths"])
    file = save(foreign(source.backbone.state_dict(), TIMM))
    model = Model(init_cfg={"type": "Pretrained", "checkpoint": file})
    model.init_weights()
    assert_backbone(model, source, norms=False)
