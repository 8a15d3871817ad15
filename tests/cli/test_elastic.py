"""torchrun starts a run again that has lost a process, and it ends as if it had not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
LAST = 8
# Rank 1 is asked to leave in the first start, and killed in the second; nobody is in the third.
HITS = """
import os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

HIT = {"0": (3, signal.SIGUSR1), "1": (6, signal.SIGKILL)}

@HOOKS.register_module()
class Hits(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        iteration, number = HIT.get(os.environ["TORCHELASTIC_RESTART_COUNT"], (0, 0))
        if (runner.rank, runner.iter + 1) == (1, iteration):
            os.kill(os.getpid(), number)
"""
CONFIG = """
custom_imports = dict(imports=["hits"], allow_failed_imports=False)
custom_hooks = {hooks}
find_unused_parameters = True
default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=4, max_keep_ckpts=2)
)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo"
    ),
]


@pytest.fixture
def launch(shapes, tiny_config, tmp_path):
    """Trains with two processes under torchrun; returns status, output and the last checkpoint."""
    (tmp_path / "hits.py").write_text(HITS)

    def run(name: str, hooks: str, *options: str) -> tuple[int, str, Path]:
        config = tiny_config("segmentation", CONFIG.format(hooks=hooks), f"{name}.py")
        where = ("--data-root", str(shapes["segmentation"]), "--work-dir", str(tmp_path / name))
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *("--nproc-per-node", "2", "--max-restarts", "2", str(ROOT / "tools/train.py")),
                *(str(config), *where, "--max-iters", str(LAST), "--seed", "0"),
                *("--device", "cpu", "--launcher", "pytorch", "--resume", *options),
            ],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "CUDA_VISIBLE_DEVICES": "",
                "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
                "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        return ran.returncode, ran.stdout, tmp_path / name / f"iter_{LAST}.pth"

    return run


def test_it_ends_with_the_weights_of_a_run_that_lost_none(launch):
    status, said, hit = launch("hit", '[dict(type="Hits")]')
    assert status == 0, said[-3000:]
    assert said.count("nothing to resume from") == 1
    assert said.count("stopped by SIGUSR1 after iteration 3") == 1  # rank 1 alone was asked
    assert "resumed epoch: 0, iter: 3" in said  # what the request saved
    assert "resumed epoch: 0, iter: 4" in said  # the interval's, after the kill
    # torchrun's SIGTERM ended who was left: it waits for 30 s, then it kills.
    assert "closing signal SIGTERM" in said and "via SIGKILL" not in said
    assert sorted(file.name for file in hit.parent.glob("*.pth")) == ["iter_4.pth", "iter_8.pth"]
    status, said, never = launch("never", "[]")
    assert status == 0, said[-3000:]
    ends = [torch.load(path, weights_only=False) for path in (hit, never)]
    for part in ("state_dict", "optimizer"):
        torch.testing.assert_close(*(end[part] for end in ends), rtol=0, atol=0)
