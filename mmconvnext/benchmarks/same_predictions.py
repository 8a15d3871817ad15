"""Whether two detectors with the same weights predict the same on the same picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmconvnext.evaluation.partners import partners

_OVERLAP = 0.9  # IoU from which two boxes of a label are of one detection; NMS leaves no two such
# Rounding decides between scores that are all but equal: which of two boxes NMS keeps, and what is
# above the least score. So this share of detections may be in one model only; the others agree.
_ALONE = 0.03
_BOX, _SCORE = 1e-2, 1e-4  # pixels, of each coordinate
_MASK = 1e-3  # share of all masks' pixels that are in one model's only


@dataclass(frozen=True)
class Difference:
    """How far apart two models' detections on one picture are.

    A detection is in both if it has a partner: of the same label, and with an IoU of at least 0.9.

    Args:
        count: detections of both models together.
        alone: those without a partner.
        box: largest difference of partners' coordinates, in pixels.
        score: largest difference of partners' scores.
        mask: of the pixels in a mask of partners, the share in one of the two only.
    """

    count: int
    alone: int
    box: float
    score: float
    mask: float

    def __str__(self) -> str:
        """In words."""
        return (
            f"{self.count - self.alone} of both models' {self.count} detections are in both; they "
            f"differ by {self.box:.1g} px, {self.score:.1g} in score, "
            f"{self.mask:.1g} of the masks' pixels"
        )

    def beyond(self) -> list[str]:
        """What two models that predict the same cannot differ by, in words."""
        found = []
        if self.alone > _ALONE * self.count:
            found.append(
                f"{self.alone} of both models' {self.count} detections have no partner of their "
                f"label and IoU >= {_OVERLAP:g} (at most {_ALONE:.0%} may)"
            )
        for what, value, most in (
            ("boxes differ by {:.2g} px", self.box, _BOX),
            ("scores differ by {:.2g}", self.score, _SCORE),
            ("masks differ in {:.2g} of their pixels", self.mask, _MASK),
        ):
            if not value <= most:  # what is not a number is beyond, too
                found.append(f"{what.format(value)} (at most {most:g})")
        return found


def check_same(found: Any, expected: Any, name: str) -> Difference:
    """Compare two models' predictions of one picture.

    Args:
        found: mmdet's ``pred_instances``: ``bboxes`` (n, 4) in pixels, ``scores`` (n,), ``labels``
            (n,) and, of a model with masks, ``masks`` (n, H, W), boolean.
        expected: the other's.
        name: of the model that ``found`` is of, for the message.

    Returns:
        How far apart they are.

    Raises:
        RuntimeError: too far, or there is nothing to compare; the message is one line.
    """
    difference = compare(found, expected)
    if not difference.count:
        raise RuntimeError(f"{name}: no detections, so nothing shows that predictions are the same")
    if beyond := difference.beyond():
        raise RuntimeError(f"{name}: predictions differ: {'; '.join(beyond)}")
    return difference


def compare(found: Any, expected: Any) -> Difference:
    """How far apart two models' predictions of one picture are; arguments as of
    :func:`check_same`."""
    pairs = partners(found, expected, _OVERLAP)
    mine, others = torch.tensor(pairs, dtype=torch.long).view(-1, 2).unbind(1)
    mask = 0.0
    if "masks" in found or "masks" in expected:
        mask = _share(found.masks[mine], expected.masks[others])
    count = len(found.scores) + len(expected.scores)
    return Difference(
        count,
        count - 2 * len(mine),
        _largest(found.bboxes[mine] - expected.bboxes[others]),
        _largest(found.scores[mine] - expected.scores[others]),
        mask,
    )


def _largest(difference: Tensor) -> float:
    return difference.abs().max().item() if difference.numel() else 0.0


def _share(masks: Tensor, others: Tensor) -> float:
    """Of the pixels that are in a mask of either model: the share of those in one only."""
    either = int((masks | others).sum())
    return int((masks ^ others).sum()) / either if either else 0.0
