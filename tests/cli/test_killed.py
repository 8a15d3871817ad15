"""Twenty kills at random moments, also while a checkpoint is written and while validating."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_exact_resume import PIPELINES, RANDOM, SETTINGS, assert_same

KILLS, ITERATIONS = 20, 24
LIVES = Path(__file__).with_name("lives.py")
SCHEDULES = {
    "detection": f"train_cfg = dict(_delete_=True, by_epoch=True, max_epochs={ITERATIONS // 2})\n",
    "segmentation": "train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', "
    f"max_iters={ITERATIONS}, val_interval=2)\n",
}


@pytest.mark.slow
def test_twenty_kills_leave_the_weights_as_they_would_be(task, tiny_config, shapes, tmp_path):
    extra = RANDOM.format(**{**SETTINGS, "workers": 1}).replace("BreakOff", "Killer")
    extra = extra.replace(',\n                dict(type="Drawing")', "")
    config = tiny_config(task, extra + PIPELINES[task] + SCHEDULES[task])

    def train(name: str, kills: int) -> list[str]:
        command = ["train", str(config), "--data-root", str(shapes[task]), "--seed", "3"]
        command += ["--device", "cpu", "--plain", "--work-dir", str(tmp_path / name)]
        ran = subprocess.run(
            [sys.executable, str(LIVES), str(kills), "5", *command],
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
        return json.loads(ran.stdout.rpartition("moments: ")[2])

    assert train("whole", 0) == []
    moments = collections.Counter(train("killed", KILLS))
    assert moments.total() == KILLS and min(moments.values()) >= 3 and len(moments) == 6
    last = f"iter_{ITERATIONS}.pth"
    whole, killed = (
        torch.load(tmp_path / n / last, weights_only=False) for n in ("whole", "killed")
    )
    assert_same(whole, killed)
    assert not [p for p in (tmp_path / "killed").iterdir() if "unfinished" in p.name]
