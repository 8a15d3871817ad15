"""The classifier: values against written-out ones."""

from __future__ import annotations

import math

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

import mmconvnext  # noqa: F401
from mmconvnext.classification import ImageClassifier
from mmconvnext.classification.classifier import build_mixing

CHANNELS = [8, 16, 32, 64]
CONVNEXT = {
    "type": "mmconvnext.ConvNeXt",
    "arch": {"depths": [1, 1, 1, 1], "channels": CHANNELS},
    "out_indices": 3,
    "gap_before_final_norm": True,
}


class Passing(nn.Module):
    """A backbone that gives out what goes in."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * 100, x


@pytest.fixture(autouse=True)
def registered():
    MODELS.register_module(module=Passing)
    yield
    del MODELS.module_dict["Passing"]


def samples(*labels: int) -> list[BaseDataElement]:
    found = []
    for label in labels:
        sample = BaseDataElement(metainfo={"img_path": f"{label}.png"})
        sample.gt_label = torch.tensor(label)
        found.append(sample)
    return found


def passing(**settings) -> ImageClassifier:
    """Its logits are the means of three channels."""
    model = ImageClassifier({"type": "Passing"}, num_classes=3, in_channels=3, **settings)
    model.head.weight.data = torch.eye(3)
    model.head.bias.data.zero_()
    return model


def picture(*logits: float) -> Tensor:
    """2x2 pixels whose mean is ``logits``."""
    values = torch.tensor(logits)[:, None, None]
    return values + torch.tensor([[1.0, -1.0], [2.0, -2.0]])


def test_a_map_is_averaged_and_the_last_output_taken():
    found = passing()(picture(0.5, -1.0, 2.0)[None])
    assert found.tolist() == [pytest.approx([0.5, -1.0, 2.0])]


def test_smoothed_loss_is_the_hand_computed_one():
    model = passing(label_smoothing=0.1)
    found = model(picture(math.log(2), 0.0, 0.0)[None], samples(0), mode="loss")["loss"]
    # Probabilities 1/2, 1/4, 1/4; a tenth of the label spread over three classes: 14/15 is left.
    smoothed = 14 / 15 * math.log(2) + 2 * (1 / 30) * math.log(4)
    assert found.item() == pytest.approx(smoothed, rel=1e-6)


def test_without_smoothing_or_mixing_it_is_cross_entropy():
    found = passing()(picture(math.log(2), 0.0, 0.0)[None], samples(1), mode="loss")["loss"]
    assert found.item() == pytest.approx(math.log(4), rel=1e-6)


def mix_of(kind: str, alpha: float, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    mix = build_mixing([{"type": kind, "alpha": alpha}], 3)
    return mix(pictures, labels)


def test_mixup_is_the_written_out_mixture_of_pictures_and_labels():
    torch.manual_seed(0)
    pictures, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 1])
    mixed, soft = mix_of("MixUp", 0.8, pictures, labels)
    share = soft[0, 0].item()  # of its own label: the other's, 1, is that of the one before
    assert 0 < share < 1
    for i in range(4):
        other = (i - 1) % 4
        torch.testing.assert_close(mixed[i], share * pictures[i] + (1 - share) * pictures[other])
        written = [0.0, 0.0, 0.0]
        written[labels[i]] += share
        written[labels[other]] += 1 - share
        assert soft[i].tolist() == pytest.approx(written)


def test_cutmix_pastes_a_box_and_shares_labels_by_its_area():
    torch.manual_seed(1)
    numbers = torch.arange(4.0)[:, None, None, None].expand(4, 3, 16, 16).contiguous()
    labels = torch.tensor([0, 1, 2, 1])
    mixed, soft = mix_of("CutMix", 1.0, numbers, labels)
    pasted = mixed[0, 0] != 0
    rows, columns = pasted.any(1).nonzero().flatten(), pasted.any(0).nonzero().flatten()
    area = len(rows) * len(columns)
    assert 0 < area < 256 and pasted.sum() == area  # a whole box
    for i in range(4):
        other = (i - 1) % 4
        assert (mixed[i][:, pasted] == other).all() and (mixed[i][:, ~pasted] == i).all()
        written = [0.0, 0.0, 0.0]
        written[labels[i]] += 1 - area / 256
        written[labels[other]] += area / 256
        assert soft[i].tolist() == pytest.approx(written, abs=1e-6)


def test_each_batch_is_mixed_by_one_of_both_by_an_even_chance():
    both = [{"type": "MixUp", "alpha": 0.8}, {"type": "CutMix", "alpha": 1.0}]
    mix = build_mixing(both, 2)
    assert [type(one).__name__ for one in mix.transforms] == ["MixUp", "CutMix"]
    assert [one.alpha for one in mix.transforms] == [0.8, 1.0]
    torch.manual_seed(0)
    pictures = torch.arange(2.0)[:, None, None, None].expand(2, 3, 8, 8).contiguous()
    blended = sum(
        bool(((found := mix(pictures, torch.arange(2))[0]) % 1 != 0).any()) for _ in range(400)
    )
    assert found.shape == pictures.shape
    assert 160 < blended < 240  # Mixup's pixels lie between both pictures', CutMix's do not


def test_training_mixes_and_prediction_does_not():
    torch.manual_seed(0)
    model = passing(mixing=[{"type": "MixUp", "alpha": 0.8}])
    inputs = torch.stack([picture(5.0, 0.0, 0.0), picture(0.0, 5.0, 0.0)])
    plain = passing()(inputs, samples(0, 1), mode="loss")["loss"]
    assert model(inputs, samples(0, 1), mode="loss")["loss"] > plain
    first, second = model(inputs, samples(0, 1), mode="predict")
    assert (first.pred_label, second.pred_label) == (0, 1)
    assert first.pred_scores.sum().item() == pytest.approx(1)
    written = math.exp(5) / (math.exp(5) + 2)
    assert first.pred_scores[0].item() == pytest.approx(written, rel=1e-5)


def test_every_weight_gets_a_gradient_in_a_training_step():
    model = MODELS.build(
        {
            "type": "mmconvnext.ImageClassifier",
            "backbone": CONVNEXT,
            "num_classes": 3,
            "in_channels": 64,
            "mixing": [{"type": "MixUp", "alpha": 0.8}, {"type": "CutMix", "alpha": 1.0}],
            "label_smoothing": 0.1,
        }
    )
    model.init_weights()
    batch = {"inputs": list(torch.randn(4, 3, 32, 32)), "data_samples": samples(0, 1, 2, 0)}
    data = model.data_preprocessor(batch, training=True)
    loss, _ = model.parse_losses(model(**data, mode="loss"))
    assert loss.item() == pytest.approx(math.log(3), abs=0.1)  # it knows nothing yet
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    assert model(data["inputs"]).shape == (4, 3)


def test_the_head_starts_as_the_authors_does():
    torch.manual_seed(0)
    model = ImageClassifier({"type": "Passing"}, num_classes=1000, in_channels=768)
    model.init_weights()
    assert model.head.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not model.head.bias.any()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_classes": 0}, "num_classes: expected at least 1, found 0"),
        ({"in_channels": -1}, "in_channels: expected at least 1, found -1"),
        ({"label_smoothing": 1.0}, "label_smoothing: expected 0 (none) to less than 1, found 1.0"),
        ({"mixing": [{"type": "Mixup"}]}, "expected type='MixUp' or 'CutMix', found 'Mixup'"),
    ],
)
def test_a_wrong_argument_is_named(settings, said):
    with pytest.raises(ValueError) as error:
        ImageClassifier({"type": "Passing"}, **{"num_classes": 3, "in_channels": 3, **settings})
    assert said in str(error.value)


@pytest.mark.parametrize(("mode", "said"), [("train", "'train'"), ("loss", "found none")])
def test_a_wrong_mode_and_lacking_samples_are_named(mode, said):
    with pytest.raises(ValueError, match=said):
        passing()(torch.zeros(1, 3, 2, 2), mode=mode)


def test_a_stop_of_the_road_is_pretrained_and_found_again(tmp_path) -> None:
    regime = {"depths": [[1, 1, 1, 1], [1, 1, 2, 1]], "widths": [8, 8, 12]}
    road = {"type": "mmconvnext.RoadNet", "step": "width", "regime": regime}
    model = MODELS.build(
        {
            "type": "mmconvnext.ImageClassifier",
            "backbone": road,
            "num_classes": 3,
            "in_channels": 384,
        }
    )
    model.init_weights()
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 3)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "width.pth")
    file = {"type": "Pretrained", "checkpoint": str(tmp_path / "width.pth")}
    backbone = MODELS.build({**road, "init_cfg": file})
    backbone.init_weights()
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(backbone.state_dict()[name], value)
