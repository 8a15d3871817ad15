"""From a picture's file to what the network takes: torchvision's transforms in mm's pipelines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from PIL import Image
from torch import nn
from torchvision.transforms import InterpolationMode, v2

from mmconvnext.registry import TRANSFORMS

Results = dict[str, Any]
_PACKAGE = "mmconvnext."
_STEPS = 1000  # of magnitude


@TRANSFORMS.register_module()
class LoadRGB:
    """Reads ``img_path`` into ``img``, an RGB picture of Pillow's."""

    def __call__(self, results: Results) -> Results:
        """The results with ``img``."""
        with Image.open(results["img_path"]) as picture:
            return {**results, "img": picture.convert("RGB")}


@TRANSFORMS.register_module()
class Torchvision:
    """Applies torchvision's transforms (``torchvision.transforms.v2``) to ``img``.

    Args:
        transforms: of each the ``type``, its name there or ``mmconvnext.RandAugment``, and its
            arguments. ``interpolation`` and ``dtype`` are words: ``'bicubic'``, ``'float32'``.

    Raises:
        ValueError: there is no such transform, interpolation or dtype, or its arguments are wrong.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]]) -> None:
        self.transform = v2.Compose([_built(cfg) for cfg in transforms])

    def __call__(self, results: Results) -> Results:
        """The results with another ``img``."""
        return {**results, "img": self.transform(results["img"])}

    def __repr__(self) -> str:
        """The transforms with their arguments."""
        return f"Torchvision({self.transform})"


@TRANSFORMS.register_module()
class PackClass:
    """The end of a pipeline: ``inputs``, a tensor (3, H, W), and ``data_samples``, mmengine's
    element with the class ``gt_label`` and, of its file, ``img_path``."""

    def __call__(self, results: Results) -> Results:
        """What the model takes."""
        sample = BaseDataElement(metainfo={"img_path": results["img_path"]})
        sample.gt_label = torch.tensor(results["gt_label"])
        return {"inputs": results["img"], "data_samples": sample}


class RandAugment(nn.Module):
    """torchvision's RandAugment with a magnitude of its own for each operation, drawn from a normal
    distribution: the paper's (9, 0.5) are mean and standard deviation, on a scale up to 10.

    The paper's code applies each operation by an even chance. torchvision has neither its
    SolarizeAdd nor Invert among its operations, but Identity, and posterises to 4 bits at most.

    Args:
        num_ops: operations drawn for a picture.
        magnitude: mean; 0 to ``max_magnitude``, within which what is drawn is kept.
        magnitude_std: standard deviation.
        max_magnitude: the strongest there is: a rotation by 30 degrees, say.
        p: with this probability an operation is applied.
        settings: torchvision's ``interpolation`` and ``fill``.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: float = 9.0,
        magnitude_std: float = 0.5,
        max_magnitude: float = 10.0,
        p: float = 0.5,
        **settings: Any,
    ) -> None:
        super().__init__()
        for name, value, highest in (
            ("num_ops", num_ops, float("inf")),
            ("magnitude", magnitude, max_magnitude),
            ("magnitude_std", magnitude_std, float("inf")),
            ("p", p, 1),
        ):
            if not 0 <= value <= highest:
                raise ValueError(f"RandAugment: {name}: expected 0 to {highest:g}, found {value}")
        self.num_ops, self.p = num_ops, p
        self.magnitude, self.magnitude_std = magnitude, magnitude_std
        self.max_magnitude = max_magnitude
        # One operation, at magnitudes from 0 to _STEPS.
        self.one = v2.RandAugment(1, 0, num_magnitude_bins=_STEPS + 1, **settings)

    def forward(self, picture: Any) -> Any:
        """The picture, changed."""
        for _ in range(self.num_ops):
            if torch.rand(()) < self.p:
                self.one.magnitude = round(_STEPS * self.draw() / self.max_magnitude)
                picture = self.one(picture)
        return picture

    def draw(self) -> float:
        """A magnitude."""
        drawn = self.magnitude + self.magnitude_std * float(torch.randn(()))
        return min(max(drawn, 0.0), self.max_magnitude)

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"num_ops={self.num_ops}, magnitude={self.magnitude}, "
            f"magnitude_std={self.magnitude_std}, max_magnitude={self.max_magnitude}, p={self.p}"
        )


def _built(cfg: Mapping[str, Any]) -> nn.Module:
    """A transform from its config."""
    settings = dict(cfg)
    name = str(settings.pop("type", None))
    own = name.removeprefix(_PACKAGE) == RandAugment.__name__ and name.startswith(_PACKAGE)
    kind: Any = RandAugment if own else getattr(v2, name, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ValueError(
            f"transforms: torchvision.transforms.v2 has no {name!r}; expected one of its "
            "transforms, or mmconvnext.RandAugment"
        )
    try:
        if "interpolation" in settings:
            settings["interpolation"] = InterpolationMode(settings["interpolation"])
        if isinstance(settings.get("dtype"), str):
            settings["dtype"] = getattr(torch, settings["dtype"])
        return kind(**settings)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"transforms: {name}: {error}") from error
