"""A backbone with a linear classifier on top, trained on mixed pictures and soft labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2

from mmconvnext.registry import MODELS

# The authors': truncated normal, as in the backbone.
HEAD_INIT = {"type": "TruncNormal", "std": 0.02, "bias": 0.0, "override": {"name": "head"}}


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A classifier whose backbone dense recipes can start from: its weights are ``backbone.…``.

    Args:
        backbone: config of the network. Of what it gives out the last is taken; a map (N, C, H, W)
            is averaged over its positions, (N, C) is taken as it is: ConvNeXt with
            ``out_indices=3, gap_before_final_norm=True`` normalises the average, as the authors'.
        num_classes: how many classes there are.
        in_channels: C.
        mixing: torchvision's transforms of whole batches, ``dict(type='MixUp', alpha=0.8)`` and
            ``dict(type='CutMix', alpha=1.0)``. One of them, by an even chance, mixes each batch in
            training. Default: none.
        label_smoothing: this share of each label is spread evenly over all classes.
        data_preprocessor: mmengine's. Default: stacks pictures.
        init_cfg: mmengine's. Default: the head's weights as the authors draw them.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        num_classes: int,
        in_channels: int,
        mixing: Sequence[Mapping[str, Any]] = (),
        label_smoothing: float = 0.0,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            data_preprocessor=data_preprocessor or {"type": "ImgDataPreprocessor"},
            init_cfg=HEAD_INIT if init_cfg is None else init_cfg,
        )
        for name, value in (("num_classes", num_classes), ("in_channels", in_channels)):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, found {value}")
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f"label_smoothing: expected 0 (none) to less than 1, found {label_smoothing}"
            )
        self.num_classes, self.label_smoothing = num_classes, label_smoothing
        self.backbone = MODELS.build(dict(backbone))
        self.head = nn.Linear(in_channels, num_classes)
        self.mix = build_mixing(mixing, num_classes)

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[BaseDataElement] | None = None,
        mode: str = "tensor",
    ) -> Tensor | dict[str, Tensor] | list[BaseDataElement]:
        """What ``mode`` asks for.

        Args:
            inputs: (N, 3, H, W), normalised.
            data_samples: one a picture, with its class as ``gt_label``.
            mode: ``'tensor'``: logits (N, classes); ``'loss'``: ``dict(loss=…)``; ``'predict'``:
                the samples, with ``pred_scores`` (classes,), which sum up to 1, and ``pred_label``.

        Raises:
            ValueError: another mode, or a mode that needs samples and has none.
        """
        if mode == "tensor":
            return self.logits(inputs)
        if mode not in ("loss", "predict"):
            raise ValueError(f"mode: expected tensor, loss or predict, found {mode!r}")
        if data_samples is None:
            raise ValueError(f"mode={mode!r} needs data_samples, found none")
        return getattr(self, mode)(inputs, data_samples)

    def logits(self, inputs: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, classes)."""
        found = self.backbone(inputs)
        last = found if isinstance(found, Tensor) else found[-1]
        return self.head(last.mean((2, 3)) if last.ndim == 4 else last)

    def loss(self, inputs: Tensor, data_samples: list[BaseDataElement]) -> dict[str, Tensor]:
        """Cross-entropy of the mixed pictures with their mixed and smoothed labels.

        Smoothing is linear: of mixed labels it is the mixture of smoothed ones.
        """
        labels = torch.stack([sample.gt_label for sample in data_samples]).to(inputs.device)
        if self.mix is not None:
            inputs, labels = self.mix(inputs, labels)
        found = F.cross_entropy(
            self.logits(inputs).float(), labels, label_smoothing=self.label_smoothing
        )
        return {"loss": found}

    def predict(self, inputs: Tensor, data_samples: list[BaseDataElement]) -> list[BaseDataElement]:
        """The samples with scores and the class of the highest."""
        scores = self.logits(inputs).float().softmax(1)
        for sample, score in zip(data_samples, scores, strict=True):
            sample.pred_scores, sample.pred_label = score, score.argmax()
        return data_samples


def build_mixing(mixing: Sequence[Mapping[str, Any]], num_classes: int) -> nn.Module | None:
    """One of torchvision's batch transforms, drawn for each batch; None for none.

    Raises:
        ValueError: a type that torchvision's v2 does not have.
    """
    built = []
    for cfg in mixing:
        settings = dict(cfg)
        kind = settings.pop("type", None)
        if kind not in ("MixUp", "CutMix"):
            raise ValueError(f"mixing: expected type='MixUp' or 'CutMix', found {kind!r}")
        with torch.device("cpu"):  # also in a model without memory: their shares are drawn there
            built.append(getattr(v2, kind)(num_classes=num_classes, **settings))
    return v2.RandomChoice(built) if built else None
