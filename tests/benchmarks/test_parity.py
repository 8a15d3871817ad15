"""Comparing a recipe's training with the host's own; here with our network on both sides, since
mmpretrain does not start beside the tests' other packages. `make parity` has mmpretrain's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from mmengine.config import Config

from mmconvnext.benchmarks import parity, parity_sides
from mmconvnext.benchmarks.parity import Comparison, compare
from mmconvnext.cli import parity as command
from mmconvnext.compat import without_mmpretrain


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow network, neck and heads, on both sides."""
    full = parity_sides._cut_down

    def cut_down(*args: object) -> Config:
        cfg = full(*args)  # type: ignore[arg-type]
        channels = [8, 16, 32, 64]
        cfg.model.backbone.arch = dict(depths=[3, 3, 9, 3], channels=channels)
        for name in ("neck", "decode_head"):
            if name in cfg.model:
                cfg.model[name].in_channels = channels
        if "neck" in cfg.model:
            roi_head, narrow = cfg.model.roi_head, channels[2]
            cfg.model.neck.out_channels = narrow
            cfg.model.rpn_head.update(in_channels=narrow, feat_channels=narrow)
            for kind in ("bbox", "mask"):
                roi_head[f"{kind}_roi_extractor"].out_channels = narrow
                roi_head[f"{kind}_head"].in_channels = narrow
            roi_head.bbox_head.fc_out_channels = 64
            roi_head.mask_head.conv_out_channels = narrow
            cfg.model.train_cfg.rcnn.sampler.num = 32
        else:
            cfg.model.auxiliary_head.in_channels = channels[2]
            cfg.model.decode_head.channels = cfg.model.auxiliary_head.channels = 16
        return cfg

    monkeypatch.setattr(parity_sides, "_cut_down", cut_down)


@pytest.mark.parametrize("name", list(parity_sides.PAIRS))
@pytest.mark.usefixtures("small")
def test_recipes_train_as_the_hosts_configs_do(name: str) -> None:
    found = compare(name, iterations=2, warm_up=False)
    assert found.agrees(), (found, found.differences())
    # Segmentation's loss, an average, may be the same to the bit.
    assert found.judged() == 2 and max(found.rounding()) < 1e-9
    assert name == "upernet" or max(found.rounding()) > 0
    assert len(found.ours) == 2 and found.network == "mmconvnext"
    assert {"loss", "loss_rpn_cls", "loss_mask"} <= found.stock[0].keys() or name == "upernet"
    # It trained at all, and the second iteration saw other weights than the first.
    assert found.moved > 10 * found.apart and found.ours[0] != found.ours[1]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (dict(optim_wrapper=dict(paramwise_cfg=dict(decay_rate=0.8))), "same_rates"),
        (dict(model=dict(backbone=dict(drop_path_rate=0.6))), "losses"),
        (dict(train_dataloader=dict(dataset=dict(indices=[3, 2, 1, 0]))), "same_batches"),
    ],
)
def test_a_setting_that_differs_is_seen(
    change: dict, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    equal = parity.sides

    def unequal(*args: object, **kwargs: object) -> tuple[Config, Config]:
        ours, stock = equal(*args, **kwargs)  # type: ignore[arg-type]
        stock.merge_from_dict(change)
        return ours, stock

    monkeypatch.setattr(parity, "sides", unequal)
    found = compare("upernet", iterations=2, warm_up=False)
    assert not found.agrees()
    assert found.largest() > parity.TOLERANCE if what == "losses" else not getattr(found, what)


def test_mmpretrains_names_stand_for_ours() -> None:
    cfg = Config(dict(model=dict(backbone=dict(type=without_mmpretrain.THEIRS))))
    ours = {
        "backbone.stages.2.8.dwconv.weight": torch.zeros(1),
        "backbone.downsample_layers.1.0.bias": torch.zeros(1),
        "neck.convs.0.weight": torch.zeros(1),
    }
    assert parity._names(cfg, ours) == {
        "backbone.stages.2.8.depthwise_conv.weight": "backbone.stages.2.8.dwconv.weight",
        "backbone.downsample_layers.1.0.bias": "backbone.downsample_layers.1.0.bias",
        "neck.convs.0.weight": "neck.convs.0.weight",
    }


def comparison(stock: float, nudged: float | None = None) -> Comparison:
    losses = {"loss": 3.0, "loss_cls": 2.0}
    own = stock if nudged is None else nudged
    return Comparison(
        "A pair",
        [losses, losses],
        [losses, {"loss": 3.0, "loss_cls": stock}],
        [losses, {"loss": 3.0, "loss_cls": own}],
        same_batches=True,
        same_rates=True,
        moved=1e-3,
        apart=1e-7,
        network="mmpretrain",
    )


def test_differences_are_relative_to_the_hosts_losses() -> None:
    found = comparison(2.5)
    assert found.differences() == [{"loss": 0, "loss_cls": 0}, {"loss": 0, "loss_cls": 0.2}]
    assert found.largest() == 0.2 and not found.agrees()
    assert comparison(2.0001).agrees() and not comparison(2.001).agrees()
    assert comparison(0).largest() == float("inf")
    assert not comparison(float("nan"), 2.0).agrees()
    assert not replace(comparison(2.0), same_batches=False).agrees()
    assert not replace(comparison(2.0), same_rates=False).agrees()


def test_only_what_rounding_does_not_decide_is_judged() -> None:
    assert comparison(2.5, 2.5 * (1 + 0.9e-6)).judged() == 2
    undecided = comparison(2.5, 2.5 * (1 + 1.1e-6))
    assert undecided.judged() == 1 and undecided.agrees() and undecided.largest() == 0
    none = replace(undecided, nudged=undecided.nudged[::-1])
    assert none.judged() == 0 and not none.agrees() and none.largest() == 0


def test_the_page_has_every_iteration_and_the_status_says_whether_they_agree(
    tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(parity, "compare", lambda *args, **kwargs: comparison(2.00001))
    page = tmp_path / "page.md"
    assert command.main(["upernet", "--page", str(page)]) == 0
    said = capsys.readouterr().out
    assert "A pair: agrees in the 2 of 2 iterations that rounding does not decide; losses" in said
    assert "losses differ by at most 5.0e-06 relative there" in said
    text = page.read_text()
    assert "| 1 | 3.000000 | 3.000000 | 0.0e+00 | `loss` | 0.0e+00 |" in text
    assert "| 2 | 3.000000 | 3.000000 | 5.0e-06 | `loss_cls` | 0.0e+00 |" in text
    monkeypatch.setattr(parity, "compare", lambda *args, **kwargs: comparison(2.5))
    assert command.main(["upernet", "--page", str(page)]) == 1
    assert "DOES NOT AGREE" in capsys.readouterr().err and "DOES NOT AGREE" in page.read_text()


def test_an_unknown_name_is_refused(capsys) -> None:
    assert command.main(["upernet", "mask"]) == 2
    assert "unknown name 'mask'; one of mask_rcnn, upernet" in capsys.readouterr().err


def test_the_command_and_the_comparison_know_the_same() -> None:
    assert tuple(parity_sides.PAIRS) == command.NAMES and parity.ITERATIONS == command.ITERATIONS
