"""Commands in several processes, many in one start: importing everything anew takes longer than
the runs do.

``torchrun … tests/sample_processes.py LISTS.json``: every process runs the lists of arguments in
turn, each as the command line does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, MODELS
from mmengine.structures import InstanceData
from sample_names import forget_names
from torch import distributed, nn

ROOT = Path(__file__).parents[1]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
WITH_LOSSES = """
custom_imports = dict(imports=["mmconvnext", "sample_processes"], allow_failed_imports=False)
custom_hooks = [dict(type="LossOfEachProcess")]
"""


@HOOKS.register_module(force=True)
class LossOfEachProcess(Hook):
    """Writes every iteration's loss in every process; mmengine logs the first process's."""

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        with (Path(runner.work_dir) / f"losses_{get_rank()}.txt").open("a") as file:
            file.write(f"{float(outputs['loss'])!r}\n")


@MODELS.register_module(force=True)
class KnowsTheAnswers(BaseModel):
    """A detector that predicts each picture's own objects, shifted by as much as its number says:
    right for some thresholds and pictures, wrong for others."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.ones(1))

    def forward(
        self, inputs: Any, data_samples: Any = None, mode: str = "tensor"
    ) -> list[DetDataSample]:
        """``data_samples`` with predictions."""
        assert mode == "predict"
        for sample in data_samples:
            truth, by = sample.gt_instances, int(sample.img_id) % 4
            masks = truth.masks.to_tensor(torch.bool, self.shift.device).roll(by, -1)
            sample.pred_instances = InstanceData(
                bboxes=truth.bboxes.tensor + by * self.shift,
                labels=truth.labels,
                scores=torch.linspace(0.9, 0.5, len(truth)) - 0.01 * by,
                masks=masks,
            )
        return data_samples


def mean_losses(work: Path) -> list[float]:
    """Each iteration's loss, the mean over the processes that LossOfEachProcess wrote in."""
    files = [file.read_text().split() for file in work.glob("losses_*.txt")]
    return [sum(map(float, each)) / len(files) for each in zip(*files, strict=True)]


def environment() -> dict[str, str]:
    """Of processes on the CPU; torchrun sets the rest for its own."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": paths}


def run_in_two(commands: Sequence[Sequence[str]], folder: Path, timeout: float = 600) -> str:
    """Run ``commands`` in two processes, one after the other; returns what was said."""
    lists = folder / "commands.json"
    lists.write_text(json.dumps(commands))
    done = subprocess.run(
        [*TORCHRUN, __file__, str(lists)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


def _run_in_turn(lists: Path) -> int:
    from mmconvnext.cli.main import main

    distributed.init_process_group("gloo")
    status = 0
    for arguments in json.loads(lists.read_text()):
        status = status or main(arguments)
        forget_names()
    time.sleep(0.1)  # as in mmconvnext/cli/device.py
    distributed.destroy_process_group()
    return status


if __name__ == "__main__":
    sys.exit(_run_in_turn(Path(sys.argv[1])))
