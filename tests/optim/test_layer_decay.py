"""Layer-wise decay against mmdet's constructor, and against a plain second statement of the
authors' rule."""

from __future__ import annotations

import logging

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

from mmconvnext.backbones import ConvNeXt
from mmconvnext.backbones.archs import ARCHS
from mmconvnext.optim import LayerDecayOptimWrapperConstructor

LR, WEIGHT_DECAY = 2e-4, 0.05
TINY = {"depths": [1, 1, 4, 1], "channels": [4, 4, 4, 8]}


class Detector(nn.Module):
    """A backbone, and a head with every kind of parameter."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
        self.scale = nn.Parameter(torch.tensor(1.0))


class Student(nn.Module):
    def __init__(self, student: nn.Module, **others: nn.Module) -> None:
        super().__init__()
        self.student = student
        for name, module in others.items():
            self.add_module(name, module)


def wrapper_cfg(**optimizer) -> dict:
    optimizer = {"type": "AdamW", "lr": LR, "weight_decay": WEIGHT_DECAY} | optimizer
    return {"type": "OptimWrapper", "optimizer": optimizer}


def build(model: nn.Module, **paramwise):
    return LayerDecayOptimWrapperConstructor(wrapper_cfg(), {"decay_rate": 0.7} | paramwise)(model)


def build_mmdets(model: nn.Module, **paramwise):
    """mmdet is imported once mmconvnext has given it the operators that it asks for."""
    from mmdet.engine.optimizers import LearningRateDecayOptimizerConstructor

    return LearningRateDecayOptimizerConstructor(wrapper_cfg(), paramwise)(model)


def settings(wrapper) -> dict[str, tuple[float, float]]:
    """Rate and weight decay of each parameter."""
    groups = wrapper.optimizer.param_groups
    pairs = [
        (name, (g["lr"], g["weight_decay"]))
        for g in groups
        for name, _ in zip(g["param_names"], g["params"], strict=True)
    ]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def grouped(wrapper) -> dict[str, tuple]:
    keys = "param_names", "lr", "lr_scale", "weight_decay"
    return {g["group_name"]: [g[k] for k in keys] for g in wrapper.optimizer.param_groups}


def plain_rule(name: str, shape: torch.Size, third_stage: int, rate: float, stage_wise: bool):
    """The authors' rule, written down once more as the list of a backbone's layers from the stem
    up."""
    blocks = [
        [f"stages.2.{i}." for i in range(j, min(j + 3, third_stage))]
        for j in range(0, third_stage, 3)
    ]
    layers = [
        ["downsample_layers.0."],
        ["stages.0."],
        ["downsample_layers.1.", "stages.1."],
        [*blocks[0], "downsample_layers.2."],
        *blocks[1:],
        ["downsample_layers.3.", "stages.3."],
    ]
    above = len(layers)
    if stage_wise:
        layers = [["downsample_layers."], *([f"stages.{i}."] for i in range(4))]
    scale = 1.0
    for i, layer in enumerate(layers):
        if name.startswith(tuple(f"backbone.{prefix}" for prefix in layer)):
            scale = rate ** (above - i)
    vector = len(shape) == 1 or name.endswith((".bias", "grn.gamma", "grn.beta"))
    return pytest.approx(scale * LR), 0.0 if vector else WEIGHT_DECAY


@pytest.mark.parametrize("decay_type", ["layer_wise", "stage_wise"])
@pytest.mark.parametrize("arch", ARCHS)
def test_groups_equal_mmdets_on_every_architecture(arch, decay_type):
    with torch.device("meta"):
        model = Detector(ConvNeXt(arch))
    third_stage = ARCHS[arch].depths[2]
    layers = {6: 5, 8: 6, 9: 6, 27: 12}[third_stage]
    ours = build(model, decay_type=decay_type)
    theirs = build_mmdets(model, decay_rate=0.7, decay_type=decay_type, num_layers=layers)
    assert grouped(ours) == grouped(theirs)
    for name, param in model.named_parameters():
        expected = plain_rule(name, param.shape, third_stage, 0.7, decay_type == "stage_wise")
        assert settings(ours)[name] == expected, name


@pytest.mark.parametrize("decay_type", ["layer_wise", "stage_wise"])
@pytest.mark.parametrize("num_layers", [4, 6, 12])
def test_groups_equal_mmdets_for_any_number_of_layers(num_layers, decay_type):
    paramwise = {"num_layers": num_layers, "decay_rate": 0.9, "decay_type": decay_type}
    with torch.device("meta"):
        model = Detector(ConvNeXt("small"))
    ours = build(model, **paramwise)
    theirs = build_mmdets(model, **paramwise)
    assert grouped(ours) == grouped(theirs)


def test_too_few_layers_are_warned_of():
    with torch.device("meta"):
        model = ConvNeXt("small")
    assert "num_layers: 6 is too few for 27 blocks in the third stage" in logged(
        model, num_layers=6
    )
    assert "3 is too few for 4 stages" in logged(model, num_layers=3, decay_type="stage_wise")
    assert "too few" not in logged(model, num_layers=6, decay_type="stage_wise")
    assert "too few" not in logged(model, num_layers=12)


def test_v2_follows_the_rule_and_grn_has_no_weight_decay():
    model = Detector(ConvNeXt("atto", use_grn=True))
    found = settings(build(model))
    for name, param in model.named_parameters():
        assert found[name] == plain_rule(name, param.shape, 6, 0.7, False), name
    assert model.backbone.stages[0][0].grn.gamma.ndim == 4
    assert found["backbone.stages.3.1.grn.gamma"][1] == 0


def test_only_the_backbones_gamma_counts_as_grns():
    model = Detector(ConvNeXt(TINY))
    model.gamma = nn.Sequential()
    model.gamma.gamma = nn.Parameter(torch.zeros(2, 2))
    assert settings(build(model))["gamma.gamma"] == (LR, WEIGHT_DECAY)


class Renamed(ConvNeXt):
    pass


Renamed.__name__ = "MyNet"


def replicated(module: nn.Module) -> nn.Module:
    """What DistributedDataParallel does to names, without processes."""
    return nn.DataParallel(module)


@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda net: Student(Detector(net)), "student.backbone."),
        (lambda net: Student(replicated(Detector(net))), "student.module.backbone."),
        (lambda net: replicated(Detector(net)), "backbone."),
        (lambda net: Student(torch.compile(net)), "student._orig_mod."),
        (lambda net: torch.compile(Detector(net)), "_orig_mod.backbone."),
        (lambda net: net, ""),
    ],
)
def test_backbone_is_found_anywhere(wrap, path):
    reference = settings(build(Detector(ConvNeXt(TINY))))
    found = settings(build(wrap(Renamed(TINY))))
    of_backbone = {n.removeprefix(path): s for n, s in found.items() if n.startswith(path)}
    assert {f"backbone.{n}": s for n, s in of_backbone.items() if "head" not in n} == {
        n: s for n, s in reference.items() if n.startswith("backbone.")
    }


def test_several_backbones_have_their_own_layers():
    model = Student(ConvNeXt(TINY), teacher=ConvNeXt("atto"), head=nn.Linear(2, 2))
    found = settings(build(model))
    for path, third_stage in (("student", 4), ("teacher", 6)):
        for name, param in getattr(model, path).named_parameters():
            expected = plain_rule(f"backbone.{name}", param.shape, third_stage, 0.7, False)
            assert found[f"{path}.{name}"] == expected, name
    assert found["head.weight"] == (LR, WEIGHT_DECAY)
    deep = settings(build(Student(ConvNeXt("atto"), teacher=ConvNeXt(TINY))))
    assert deep["student.stages.0.0.dwconv.weight"] == found["teacher.stages.0.0.dwconv.weight"]


def test_frozen_parameters_are_left_out():
    model = Detector(ConvNeXt(TINY, frozen_stages=2))
    found = settings(build(model))
    assert set(found) == {n for n, p in model.named_parameters() if p.requires_grad}
    assert not any(n.startswith(("backbone.stages.0", "backbone.stages.1")) for n in found)
    assert found["backbone.stages.2.0.dwconv.weight"][0] == pytest.approx(LR * 0.7**3)


@pytest.mark.parametrize("bypass", [{}, {"bypass_duplicate": True}])
def test_shared_parameters_are_taken_once(bypass):
    model = Detector(ConvNeXt(TINY))
    model.same_head = model.head
    model.tied = nn.Conv2d(8, 8, 1)
    model.tied.weight = model.head[0].weight
    found = settings(build(model, **bypass))
    assert "head.0.weight" in found
    assert "tied.weight" not in found
    assert "same_head.0.weight" not in found
    assert "tied.bias" in found


def test_longest_custom_key_counts_and_comes_on_top_of_the_layers_rate():
    custom = {
        "backbone": {"lr_mult": 0.1},
        "backbone.stages.2.0": {"decay_mult": 0.5},
        "head": {"lr_mult": 10, "decay_mult": 2.0},
    }
    model = Detector(ConvNeXt(TINY))
    plain = settings(build(model))
    found = settings(build(model, custom_keys=custom, bias_lr_mult=3.0, norm_decay_mult=1.0))
    for name, (rate, decay) in plain.items():
        if name.startswith("backbone.stages.2.0"):
            rate, decay = rate, 0.5 * WEIGHT_DECAY
        elif name.startswith("backbone"):
            rate = 0.1 * rate
        elif name.startswith("head"):
            rate, decay = 10 * rate, 2 * WEIGHT_DECAY
        assert found[name] == (pytest.approx(rate), pytest.approx(decay)), name


def test_norm_and_bias_multipliers_replace_the_rules_zero():
    model = Detector(ConvNeXt(TINY))
    plain = settings(build(model))
    found = settings(build(model, norm_decay_mult=0.5, bias_decay_mult=0.25, bias_lr_mult=2.0))
    norms = {
        f"{path}.{name}"
        for path, module in model.named_modules()
        if isinstance(module, (nn.LayerNorm, nn.BatchNorm2d))
        for name, _ in module.named_parameters()
    }
    assert {"head.1.bias", "backbone.norm0.weight", "backbone.stages.0.0.norm.weight"} <= norms
    for name, (rate, decay) in plain.items():
        if name in norms:
            decay = 0.5 * WEIGHT_DECAY
        elif name.endswith(".bias"):
            rate, decay = 2 * rate, 0.25 * WEIGHT_DECAY
        assert found[name] == (pytest.approx(rate), pytest.approx(decay)), name


def test_without_weight_decay_the_optimizers_default_stays():
    cfg = wrapper_cfg()
    del cfg["optimizer"]["weight_decay"]
    wrapper = LayerDecayOptimWrapperConstructor(cfg, {"decay_rate": 0.7})(Detector(ConvNeXt(TINY)))
    default = torch.optim.AdamW([nn.Parameter(torch.zeros(1))]).defaults["weight_decay"]
    assert {g["weight_decay"] for g in wrapper.optimizer.param_groups} == {0.0, default}


@pytest.mark.parametrize("name", ["", "mmconvnext."])
@pytest.mark.parametrize("scope", ["mmdet", "mmseg", "mmengine", "mmconvnext"])
@pytest.mark.parametrize("kind", ["OptimWrapper", "AmpOptimWrapper"])
def test_constructor_is_found_from_every_scope(scope, name, kind, monkeypatch):
    monkeypatch.setattr(
        "mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available", lambda: True
    )
    cfg = wrapper_cfg() | {
        "type": kind,
        "constructor": f"{name}LayerDecayOptimWrapperConstructor",
        "paramwise_cfg": {"decay_rate": 0.7, "_scope_": "mmdet"},
    }
    with DefaultScope.overwrite_default_scope(scope):
        wrapper = build_optim_wrapper(Detector(ConvNeXt(TINY)), cfg)
    assert type(wrapper).__name__ == kind
    rates = {g["lr"] for g in wrapper.optimizer.param_groups}
    assert rates == {0.7**i * LR for i in range(7)}


def test_a_step_moves_the_layers_by_their_rates():
    model = Detector(ConvNeXt(TINY))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    cfg = wrapper_cfg(type="SGD", lr=1.0, weight_decay=0.0)
    wrapper = LayerDecayOptimWrapperConstructor(cfg, {"decay_rate": 0.5})(model)
    wrapper.update_params(sum(p.sum() for p in model.parameters()))
    moved = {n: (before[n] - p.detach()).mean().item() for n, p in model.named_parameters()}
    assert moved["head.0.weight"] == pytest.approx(1.0, abs=1e-5)
    assert moved["backbone.norm3.weight"] == pytest.approx(1.0, abs=1e-5)
    assert moved["backbone.stages.3.0.gamma"] == pytest.approx(0.5, abs=1e-5)
    assert moved["backbone.downsample_layers.0.0.bias"] == pytest.approx(0.5**6, abs=1e-5)


def logged(model: nn.Module, **paramwise) -> str:
    """What building the optimizer logs."""
    from mmengine.logging import MMLogger

    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        build(model, **paramwise)
    finally:
        logger.removeHandler(handler)
    return "\n".join(records)


def test_log_shows_the_groups_as_a_table():
    lines = logged(Detector(ConvNeXt(TINY))).splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("layer "))
    assert lines[header].split() == ["layer", "tensors", "parameters", "rate", "decay"]
    rows = {ln.split()[0]: ln.split()[1:] for ln in lines if ln.startswith("layer_")}
    assert rows["layer_0_decay"] == ["1", "192", f"{LR * 0.7**6:.4g}", "0.05"]
    assert rows["layer_6_decay"] == ["2", "65", "0.0002", "0.05"]
    model = Detector(ConvNeXt(TINY))
    counted = sum(int(row[1].replace(",", "")) for row in rows.values())
    assert counted == sum(p.numel() for p in model.parameters())


def test_custom_key_that_fits_nothing_is_warned_of():
    text = logged(ConvNeXt(TINY), custom_keys={"backbne": {"lr_mult": 0.1}})
    assert "'backbne' is in the name of no trained parameter" in text


@pytest.mark.parametrize(
    ("paramwise", "message"),
    [
        ({"decay_rat": 0.7}, "unknown key 'decay_rat'; did you mean 'decay_rate'"),
        ({"nonsense": 1}, "unknown key 'nonsense'; Allowed: decay_rate, decay_type, num_layers"),
        ({"custom_keys": {"head": {"lr_mul": 2}}}, "did you mean 'lr_mult'"),
        ({"decay_type": "layerwise"}, "decay_type: expected one of layer_wise, stage_wise"),
        ({"num_layers": 0}, "num_layers: expected a positive integer or 'auto', found 0"),
        ({"num_layers": "6"}, "num_layers: expected a positive integer or 'auto', found '6'"),
        ({"decay_rate": 1.5}, r"decay_rate: expected a number in \(0, 1\], found 1.5"),
        ({"decay_rate": None}, "decay_rate: expected a number"),
    ],
)
def test_bad_settings_are_refused(paramwise, message):
    with pytest.raises(ValueError, match=message) as error:
        build(ConvNeXt(TINY), **paramwise)
    assert "\n" not in str(error.value)


def test_missing_settings_are_refused():
    with pytest.raises(ValueError, match="decay_rate: expected a number"):
        LayerDecayOptimWrapperConstructor(wrapper_cfg())
    with pytest.raises(TypeError, match="custom_keys"):
        build(ConvNeXt(TINY), custom_keys={"head": 2})
    with pytest.raises(ValueError, match=r"optimizer\.lr"):
        LayerDecayOptimWrapperConstructor({"optimizer": {"type": "SGD"}}, {"decay_rate": 0.7})


def test_model_without_convnext_is_refused():
    with pytest.raises(ValueError, match="Sequential: expected a ConvNeXt somewhere in the model"):
        build(nn.Sequential(nn.Linear(2, 2)))
