"""Run by torchrun from test_finite_distributed.py: two processes, and trouble in the second."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from sample_guarded_runs import AfterEach, Network, pictures, same, weights
from torch import distributed
from torch.utils.data import DataLoader

from mmconvnext.cli.device import running_on
from mmconvnext.hooks import FiniteGuardHook, NonFiniteError

BAD = 2  # the iteration


def train(work: Path, kind: str, action: str, leave_out: bool = False) -> dict[str, Any]:
    """Train; ``leave_out``: without the batch, and without trouble."""
    rank = distributed.get_rank()
    data = pictures(20)[rank::2]
    if leave_out:
        del data[2 * BAD : 2 * BAD + 2]
    torch.manual_seed(5)
    model = Network(kind, [BAD] if rank == 1 and not leave_out else [])
    after: list[dict[str, torch.Tensor]] = []

    def note(runner: Runner) -> None:
        after.append(weights(runner.model.module))

    runner = Runner(
        model,
        str(work),
        train_dataloader=DataLoader(data, 2, collate_fn=collate),
        train_cfg={"by_epoch": False, "max_iters": len(data) // 2},
        optim_wrapper={"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
        custom_hooks=[FiniteGuardHook(action), AfterEach(note)],
        cfg={"model_wrapper_cfg": {"type": "MMDistributedDataParallel", "device_ids": None}},
        launcher="pytorch",
        experiment_name=work.name,
        log_level="WARNING",
    )
    try:
        runner.train()
    except NonFiniteError as error:
        return {"error": str(error), "after": after, "now": weights(model)}
    return {"error": "", "after": after, "now": weights(model)}


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: [item[name] for item in items] for name in items[0]}


def main(folder: Path) -> None:
    plain = train(folder / "plain", "", "stop", leave_out=True)
    found = {}
    for kind in ("output", "loss", "gradient"):
        skipped = train(folder / f"{kind}_skip", kind, "skip")
        stopped = train(folder / f"{kind}_stop", kind, "stop")
        found[kind] = {
            "error": stopped["error"],
            "skip_error": skipped["error"],
            "iterations": len(skipped["after"]),
            "as_before": same(stopped["now"], stopped["after"][-1]),
            "as_without": same(skipped["now"], plain["now"]),
            "head": skipped["now"]["head.weight"].flatten().tolist(),
        }
    (folder / f"rank_{distributed.get_rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    with running_on("cpu", Config({"launcher": "pytorch"})):
        main(Path(sys.argv[1]))
