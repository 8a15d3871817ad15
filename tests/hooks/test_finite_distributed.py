"""Two processes, only one of which meets what is not finite: both have to decide alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
FIRST = {
    "output": "loss_cls = nan; first non-finite output: stem.2 (Trouble)",
    "loss": "loss_bbox = inf; first non-finite output: the model (Network)",
    "gradient": "first non-finite gradient: of the input of stem.2 (Trouble)",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo"
    ),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> tuple[Path, list[dict]]:
    """What the two processes wrote down."""
    folder = tmp_path_factory.mktemp("two")
    paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [*TORCHRUN, str(HERE / "two_processes.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, [json.loads((folder / f"rank_{n}.json").read_text()) for n in (0, 1)]


@pytest.mark.parametrize("kind", FIRST)
def test_both_stop_before_the_weights_and_say_who_met_it(found, kind):
    folder, ranks = found
    errors = [rank[kind]["error"] for rank in ranks]
    assert errors[0] == errors[1]
    assert errors[0].startswith("iteration 3: rank 1: ") and FIRST[kind] in errors[0]
    assert "rank 0: " not in errors[0]
    assert all(rank[kind]["as_before"] for rank in ranks)
    files = [path.name for path in (folder / f"{kind}_stop").glob("nonfinite*")]
    assert files == ["nonfinite_iter_3_rank_1.pth"]


@pytest.mark.parametrize("kind", FIRST)
def test_both_skip_the_batch_as_if_it_had_never_come(found, kind):
    _, ranks = found
    for rank in ranks:
        assert rank[kind]["skip_error"] == "" and rank[kind]["iterations"] == 5
        assert rank[kind]["as_without"]
    assert ranks[0][kind]["head"] == ranks[1][kind]["head"]
