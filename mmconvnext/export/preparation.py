"""What happens to a picture before the network, read from a config and done inside the graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn import functional as F

from mmconvnext.export.errors import ExportError
from mmconvnext.inference.pictures import step_name
from mmconvnext.inference.predictor import test_pipeline

_BESIDE = ("LoadImageFromFile", "LoadAnnotations", "PackDetInputs", "PackSegInputs")


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What a config does to a picture that is tested.

    Args:
        mean: of each channel, subtracted, in grey levels from 0 to 255.
        std: of each channel, divided by.
        channel_order: of what the network takes: 'rgb' or 'bgr'.
        divisor: a detector pads the sides at the lower right, with zeros after normalising, to
            multiples of it.
        scale: the size to resize to, its larger and its smaller side; None: as the picture is.
        keep_ratio: resize to the largest size inside ``scale``; else to width and height.
        other_steps: names of steps of the test pipeline that are none of the above.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str
    divisor: int
    scale: tuple[int, int] | None
    keep_ratio: bool
    other_steps: tuple[str, ...]


def read_preparation(cfg: Config) -> Preparation:
    """What ``cfg``'s test pipeline and data preprocessor do."""
    before = cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    swapped = bool(before.get("bgr_to_rgb") or before.get("rgb_to_bgr"))
    steps = {step_name(step): step for step in test_pipeline(cfg)}
    resize = steps.pop("Resize", None)
    other = [name for name in steps if name not in _BESIDE]
    if before.get("test_cfg"):  # mmseg's padding
        other.append("data_preprocessor.test_cfg")
    plain = resize is None or (
        "scale" in resize and not set(resize) - {"type", "scale", "keep_ratio", "interpolation"}
    )
    if not plain or (resize or {}).get("interpolation", "bilinear") != "bilinear":
        other.append("Resize")
        resize = None
    return Preparation(
        mean=tuple(before.get("mean") or (0.0, 0.0, 0.0)),
        std=tuple(before.get("std") or (1.0, 1.0, 1.0)),
        channel_order="rgb" if swapped else "bgr",
        divisor=int(before.get("pad_size_divisor") or 1),
        scale=None if resize is None else _pair(resize["scale"]),
        keep_ratio=bool((resize or {}).get("keep_ratio", False)),
        other_steps=tuple(other),
    )


class Prepare(nn.Module):
    """Pictures to what the network takes: resized, in its channel order, normalised.

    Resizing is OpenCV's bilinear rule without its fixed-point numbers: with OpenCV 5.0 one grey
    level in eight differs, by 1.

    Raises:
        ExportError: the test pipeline has steps that are not known here.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, settings: Preparation) -> None:
        super().__init__()
        if settings.other_steps:
            raise ExportError(
                "--preprocessing inside: expected a test pipeline of LoadImageFromFile, Resize "
                f"with a scale, and packing, found {', '.join(settings.other_steps)} too; export "
                "with --preprocessing outside and prepare pictures as the config does"
            )
        self.settings = settings
        for name in ("mean", "std"):
            values = torch.tensor(getattr(settings, name)).view(-1, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB to (N, 3, h, w) float32."""
        x = images.permute(0, 3, 1, 2)
        if self.settings.channel_order == "bgr":
            x = x.flip(1)
        x = x.float()
        if self.settings.scale is not None:
            height, width = self._size(x)
            x = F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
            # Whole numbers, as OpenCV gives. Halves, which small factors give by the thousand, go
            # up even where a runtime's rounding puts them a hair below.
            x = (x + 0.501).floor()
        return (x - self.mean) / self.std

    def _size(self, x: Tensor) -> tuple[int, int]:
        assert self.settings.scale is not None
        first, second = self.settings.scale
        if not self.settings.keep_ratio:
            return second, first
        long, short = max(first, second), min(first, second)
        sides = torch.stack([torch.scalar_tensor(s, dtype=torch.float64) for s in x.shape[2:]])
        factor = torch.minimum(long / sides.max(), short / sides.min())
        height, width = (sides * factor + 0.5).long().unbind()
        return _whole(height, long), _whole(width, long)


def _whole(side: Tensor, most: int) -> int:
    """A side's length as a number that torch.export takes for a size."""
    length: int = side.item()  # type: ignore[assignment]
    torch._check(length >= 1)
    torch._check(length <= most)
    return length


def _pair(scale: Sequence[int] | int) -> tuple[int, int]:
    first, second = (scale, scale) if isinstance(scale, int) else scale
    return int(first), int(second)
