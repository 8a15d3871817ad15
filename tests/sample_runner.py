"""A training of mmengine's that takes a moment: four weights, eight samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Line(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.fit = nn.Linear(4, 1)

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor, mode: str = "tensor") -> Any:
        found = self.fit(inputs)
        return {"loss": (found - targets).square().mean()} if mode == "loss" else [found]


class Samples(Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        inputs = torch.sin(torch.arange(4.0) * (index + 1))
        return {"inputs": inputs, "targets": inputs.sum(0, keepdim=True)}


class Given(BaseMetric):
    """One score after the other, whatever the network says."""

    default_prefix = "given"

    def __init__(self, scores: Sequence[dict[str, float]]) -> None:
        super().__init__()
        self.scores = iter(scores)

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        return next(self.scores)


def line_runner(
    work: Path,
    checkpoint: dict[str, Any] | None = None,
    hooks: list[Any] | None = None,
    *,
    iterations: int = 4,
    epochs: int = 0,
    workers: int = 0,
    scores: Sequence[dict[str, float]] = (),
    **settings: Any,
) -> Runner:
    """A runner of ``iterations``, or of ``epochs`` of four iterations, with the checkpoint hook
    that ``checkpoint`` describes; with ``scores`` it validates after each."""
    torch.manual_seed(0)
    loop: dict[str, Any] = {"by_epoch": False, "max_iters": iterations}
    if epochs:
        loop = {"by_epoch": True, "max_epochs": epochs}
    if scores:
        settings["val_dataloader"] = DataLoader(Samples(), batch_size=2)
        settings |= {"val_cfg": {}, "val_evaluator": [Given(scores)]}
    return Runner(
        model=Line(),
        work_dir=str(work),
        train_dataloader=DataLoader(Samples(), batch_size=2, num_workers=workers),
        train_cfg={**loop, "val_interval": 1},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
        default_hooks={
            "checkpoint": checkpoint and {"type": "mmconvnext.WholeCheckpointHook", **checkpoint},
        },
        custom_hooks=hooks,
        experiment_name=work.name,
        **{"log_level": "WARNING", **settings},
    )
