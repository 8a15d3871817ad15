"""Several processes on one CPU, started as a user starts them: with torchrun, on gloo.

What trains to its end does so in one start, for importing takes longer.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image
from sample_bad_data import broken_inside
from sample_processes import ROOT, TORCHRUN, environment, run_in_two

from mmconvnext.cli.errors import INTERRUPTED, report_errors
from mmconvnext.cli.files import finished_file
from mmconvnext.cli.main import main
from mmconvnext.data.shapes import ShapesSpec, make_ade_shapes, make_coco_shapes
from mmconvnext.hooks import NonFiniteError

CONFIGS = Path(__file__).parent / "configs"
MAKERS = {"segmentation": make_ade_shapes, "detection": make_coco_shapes}
PICTURES = 8
RATE = 1e-2  # of the configs
TOLERANCE = 1e-5
ACCUMULATED = "train_dataloader.batch_size=1 optim_wrapper.accumulative_counts="

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo"
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pictures")
    for task, make in MAKERS.items():
        make(root / task, ShapesSpec(train=PICTURES, val=1, size=64, max_shapes=2))
    return {task: root / task for task in MAKERS}


def command(
    data: dict[str, Path], task: str, work: Path, iterations: int, *options: str, settings: str = ""
) -> list[str]:
    """The arguments of a training of a task's config."""
    return [
        *(str(CONFIGS / f"shared_batch_{task}.py"), "--data-root", str(data[task])),
        *("--work-dir", str(work), "--max-iters", str(iterations)),
        *("--seed", "0", "--device", "cpu", *options),
        *(("--cfg-options", *settings.split()) if settings else ()),
    ]


@pytest.fixture
def arguments(pictures, tmp_path) -> Callable[..., list[str]]:
    """The same in tmp_path/name."""

    def of(task: str, name: str, iterations: int, *options: str, settings: str = "") -> list[str]:
        return command(pictures, task, tmp_path / name, iterations, *options, settings=settings)

    return of


@pytest.fixture
def one_process(arguments, tmp_path) -> Callable[..., dict[str, torch.Tensor]]:
    """Trains in this process; returns the weights."""

    def run(task: str, name: str, iterations: int, *options: str, settings: str = ""):
        command = arguments(task, name, iterations, *options, settings=settings)
        assert main(["train", *command]) == 0
        return checkpoint(tmp_path / name, iterations)["state_dict"]

    return run


@dataclass(frozen=True)
class Together:
    """What two processes trained, in folders of ``root``, and what they said of each."""

    root: Path
    said: dict[str, str]


@pytest.fixture(scope="module")
def together(pictures, tmp_path_factory) -> Together:
    """Both tasks' trainings, and one that accumulates gradients."""
    root = tmp_path_factory.mktemp("together")
    launched = ("--launcher", "pytorch")
    names = {task: (task, 2, ("--auto-scale-lr",), "") for task in MAKERS}
    names["accumulated"] = ("segmentation", 4, (), f"{ACCUMULATED}2")
    commands = [
        command(pictures, task, root / name, iterations, *launched, *options, settings=settings)
        for name, (task, iterations, options, settings) in names.items()
    ]
    said = run_in_two([["train", *each] for each in commands], root)
    # Each says last where its work is.
    parts = re.split(
        rf"^mmconvnext: done: {re.escape(str(root.resolve()))}/(\w+)$", said, flags=re.M
    )
    assert parts[1::2] == list(names)  # one process speaks
    return Together(root, dict(zip(names, parts[::2], strict=False)))


@pytest.fixture
def two_processes(arguments, tmp_path) -> Iterator[Callable[..., Launched]]:
    """Starts a training in two processes beside this one."""
    launched = []

    def start(task: str, name: str, iterations: int, *options: str, settings: str = "") -> Launched:
        command = arguments(
            task, name, iterations, "--launcher", "pytorch", *options, settings=settings
        )
        launched.append(Launched(command, tmp_path / f"said_{name}"))
        return launched[-1]

    yield start
    for one in launched:
        one.launcher.kill()
        one.launcher.wait()


class Launched:
    """A training in two processes; what they say goes to the file ``said``."""

    def __init__(self, arguments: list[str], said: Path) -> None:
        self._said = said
        with said.open("w") as file:
            self.launcher = subprocess.Popen(
                [*TORCHRUN, str(ROOT / "tools/train.py"), *arguments],
                env=environment(),
                stdout=file,
                stderr=file,
            )

    @property
    def said(self) -> str:
        return self._said.read_text()

    def ended(self, status: int) -> str:
        """Waits for the end, which must be with ``status``; returns what was said."""
        assert self.launcher.wait(timeout=120) == status, self.said[-3000:]
        return self.said


def checkpoint(work: Path, iterations: int) -> dict:
    return torch.load(work / f"iter_{iterations}.pth", weights_only=False)


def differences(ones: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> dict[str, float]:
    assert ones.keys() == others.keys()
    return {name: float((ones[name] - others[name]).abs().max()) for name in ones}


@pytest.mark.parametrize("task", MAKERS)
def test_two_processes_train_as_one_with_twice_the_batch(task, one_process, together):
    twice = "train_dataloader.batch_size=4"
    one = one_process(task, "one", 2, "--auto-scale-lr", settings=twice)
    start = one_process(task, "start", 1, settings="optim_wrapper.optimizer.lr=0.0")
    half = one_process(task, "half", 2, settings=f"optim_wrapper.optimizer.lr={RATE / 4}")
    trained = checkpoint(together.root / task, 2)
    two = trained["state_dict"]

    apart = differences(one, two)
    assert max(apart.values()) <= TOLERANCE, max(apart, key=apart.get)

    # That says something: all weights moved far more, and half of the pictures move them elsewhere.
    moved = differences(start, two)
    assert not [name for name in moved if apart[name] > 0.02 * moved[name]]
    assert max(differences(half, two).values()) > 100 * TOLERANCE

    # 2 processes x 2 pictures are a quarter of the rate's batch of 16.
    rates = [group["lr"] for group in trained["optimizer"]["param_groups"]]
    assert max(rates) == pytest.approx(RATE / 4) and min(rates) < RATE / 4  # lower layers' decay

    # One process speaks, in one work directory.
    assert together.said[task].count("Iter(train) [2/2]") == 1
    assert len(list((together.root / task).glob("*.pth"))) == 1
    (log,) = (together.root / task).glob("*/vis_data/scalars.json")
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2]


def test_accumulated_gradients_are_those_of_the_whole_batch(one_process, together):
    task = "segmentation"
    whole = one_process(task, "whole", 2, settings="train_dataloader.batch_size=4")
    alone = one_process(task, "alone", 8, settings=f"{ACCUMULATED}4")
    assert max(differences(whole, alone).values()) <= TOLERANCE
    two = checkpoint(together.root / "accumulated", 4)["state_dict"]
    assert max(differences(whole, two).values()) <= TOLERANCE


def test_the_last_accumulation_may_be_shorter(one_process):
    short = one_process("segmentation", "short", 5, settings=f"{ACCUMULATED}4")
    # Picture 4 alone gives the gradient that it gives four times over.
    repeated = "train_dataloader.batch_size=4 train_dataloader.dataset.indices=[0,1,2,3,4,4,4,4]"
    whole = one_process("segmentation", "whole", 2, settings=repeated)
    assert max(differences(whole, short).values()) <= TOLERANCE


def test_the_rate_is_not_scaled_where_gradients_are_accumulated(arguments, capsys):
    settings = "optim_wrapper.accumulative_counts=4"
    command = arguments("segmentation", "never", 1, "--auto-scale-lr", settings=settings)
    assert main(["train", *command]) == 2
    assert "--auto-scale-lr does not count accumulated batches (accumulative_counts=4)" in (
        capsys.readouterr().err
    )


def test_what_ends_one_process_ends_all_and_is_said_in_a_line(pictures, two_processes, tmp_path):
    task = "segmentation"
    picture = pictures[task] / "images/training/000001.png"  # rank 1's first
    whole = picture.read_bytes()
    with Image.open(picture) as read:
        broken_inside(read.copy(), picture)  # no look at it before training sees that
    try:
        said = two_processes(task, "two", 2).ended(1)
    finally:
        picture.write_bytes(whole)
    (line,) = (line for line in said.splitlines() if "mmconvnext train: rank 1: " in line)
    assert "training/000001.png" in line and "--on-bad-data skip" in line
    assert "done:" not in said and not list((tmp_path / "two").glob("*.pth"))
    assert not running(tmp_path)


def test_ctrl_c_ends_all_processes(two_processes, tmp_path):
    launched = two_processes("segmentation", "two", 100_000)
    wait_for(lambda: "Iter(train)" in launched.said)
    launched.launcher.send_signal(signal.SIGINT)  # torchrun's processes get it from torchrun alone
    said = launched.ended(1)
    assert said.count("mmconvnext train: rank 0: interrupted\n") == said.count("interrupted") == 1
    assert not running(tmp_path)


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def running(folder: Path) -> list[str]:
    """Command lines of the processes that were given a path in ``folder``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_text()
        except OSError:  # it ended meanwhile
            continue
        if str(folder) in line:
            found.append(line)
    return found


@pytest.mark.parametrize(
    ("variables", "who"),
    [
        ({"RANK": "3", "WORLD_SIZE": "8"}, "rank 3: "),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "8"}, "rank 2: "),
        ({"RANK": "0", "WORLD_SIZE": "1", "SLURM_PROCID": "2", "SLURM_NTASKS": "8"}, ""),
        ({}, ""),
    ],
)
def test_a_process_of_several_names_itself(variables, who, monkeypatch, capsys):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def fail():
        raise OSError("no space")

    def stop():
        raise KeyboardInterrupt

    assert report_errors("p", fail, debug=False) == 1
    assert capsys.readouterr().err == f"p: {who}OSError: no space; --debug shows the traceback\n"
    assert report_errors("p", stop, debug=False) == INTERRUPTED
    assert capsys.readouterr().err == ("" if who else "p: interrupted\n")


@pytest.mark.parametrize(("number", "said"), [("0", "p: rank 0: NonFiniteError: x"), ("1", "")])
def test_what_all_processes_raise_the_first_alone_says(number, said, monkeypatch, capsys):
    monkeypatch.setenv("RANK", number)
    monkeypatch.setenv("WORLD_SIZE", "2")

    def fail():
        error = NonFiniteError("x")
        error.raised_in_all = True
        raise error

    assert report_errors("p", fail, debug=False) == 1
    hint = "; --debug shows the traceback\n"
    assert capsys.readouterr().err == (said + hint if said else "")


def test_predictions_are_put_in_place_by_the_first_process_alone(monkeypatch, tmp_path):
    for number in (1, 0):
        monkeypatch.setenv("RANK", str(number))
        with finished_file(tmp_path / "out.pkl") as unfinished:
            unfinished.write_text("results")
        assert unfinished.exists() == (number > 0)
        assert (tmp_path / "out.pkl").exists() == (number == 0)


def test_slurm_on_cpus_is_refused_in_a_line(arguments, capsys):
    command = arguments("segmentation", "never", 1, "--launcher", "slurm")
    assert main(["train", *command]) == 2
    assert "--launcher slurm needs GPUs; on CPUs use torchrun" in capsys.readouterr().err
