"""Trainings of a network of a few layers, one of which can be told to make something not finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.utils.data import DataLoader

NAN, INF = float("nan"), float("inf")


class Trouble(nn.Module):
    """Passes on what comes, but in some iterations something else.

    Args:
        kind: 'output': NaN in the output; 'gradient': in the gradient alone; the others are the
            network's.
        at: the iterations, from 0.
    """

    def __init__(self, kind: str = "", at: Sequence[int] = ()) -> None:
        super().__init__()
        self.kind, self.at = kind, at

    def now(self) -> bool:
        return MessageHub.get_current_instance().get_info("iter") in self.at

    def forward(self, x: Tensor) -> Tensor:
        if not self.now():
            return x
        if self.kind == "output":
            return torch.where(torch.arange(x.numel()).view_as(x) == 0, NAN, x)
        if self.kind == "gradient":
            return x + torch.sqrt(x * 0)
        return x


class Network(BaseModel):
    """Its trouble comes behind a convolution and a norm.

    Args:
        kind: as of :class:`Trouble`; also 'loss': one of the two losses is infinite; 'error': one
            such as SciPy raises that meets NaN.
        at: as of :class:`Trouble`.
    """

    def __init__(self, kind: str = "", at: Sequence[int] = ()) -> None:
        super().__init__()
        self.kind = kind
        self.stem = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), Trouble(kind, at), nn.ReLU(inplace=True)
        )
        self.head = nn.Linear(4, 2)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "loss") -> Any:
        features = self.stem(torch.stack(inputs)).mean((2, 3))
        if self.kind == "error" and self.stem[2].now():
            features = features * NAN
            self.head(features)
            raise ValueError("matrix contains invalid numeric entries")
        scores = self.head(features)
        extra = INF if self.kind == "loss" and self.stem[2].now() else 1.0
        return {
            "loss_cls": scores[:, 0].square().mean(),
            "loss_bbox": torch.as_tensor(extra),
        }


def pictures(count: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "inputs": torch.randn(3, 6, 6, generator=generator),
            "data_samples": BaseDataElement(metainfo={"img_path": f"{number}.jpg"}),
        }
        for number in range(count)
    ]


def make_runner(
    work: Path,
    model: nn.Module,
    data: list[dict[str, Any]],
    guard: Hook | None,
    *,
    iterations: int | None = None,
    batch: int = 2,
    optim_wrapper: Any = None,
    schedule: list[dict[str, Any]] | None = None,
    resume: bool = False,
    hooks: Sequence[Hook] = (),
    interval: int = 1,
    saving: str = "CheckpointHook",
) -> Runner:
    """A runner over ``data``, in their order."""
    torch.manual_seed(0)
    settings = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
    return Runner(
        model,
        str(work),
        train_dataloader=DataLoader(data, batch, collate_fn=pseudo_collate),
        train_cfg={"by_epoch": False, "max_iters": iterations or len(data) // batch},
        optim_wrapper=optim_wrapper or {"type": "OptimWrapper", "optimizer": settings},
        param_scheduler=schedule,
        default_hooks={"checkpoint": {"type": saving, "interval": interval, "by_epoch": False}},
        custom_hooks=[*hooks, *([guard] if guard else [])],
        resume=resume,
        experiment_name=f"{work.name}{resume}",
        log_level="WARNING",
        randomness={"seed": 3},
    )


class AfterEach(Hook):
    """Calls a function with the runner after each iteration."""

    def __init__(self, function: Callable[[Runner], None]) -> None:
        self.function = function

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self.function(runner)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(ones: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    return ones.keys() == others.keys() and all(
        torch.equal(ones[name], others[name]) for name in ones
    )
