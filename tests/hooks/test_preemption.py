"""Signals in a training, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.hooks import EMAHook, Hook
from sample_runner import line_runner

from mmconvnext.checkpoints import whole_files
from mmconvnext.checkpoints.whole_files import verify
from mmconvnext.cli.errors import STOPPED
from mmconvnext.hooks.preemption import STATUS, PreemptionHook, StoppedBySignal

BY_ITERATION = {"by_epoch": False, "interval": 100}
ASKING = [signal.SIGTERM, signal.SIGUSR1]
SCORES = [{"a": 0.1}] * 10
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
START = """
import os, signal, sys, time
from pathlib import Path
from mmengine.hooks import Hook
from sample_runner import line_runner
from mmconvnext.hooks.preemption import PreemptionHook
from mmconvnext.hooks.signals import BeforeDeath

class At(Hook):
    def __init__(self, iteration, act):
        self.iteration, self.act = iteration, act
    def after_train_iter(self, runner, **_):
        if runner.iter + 1 == self.iteration:
            self.act(runner)

def signalled(number):
    return lambda runner: os.kill(os.getpid(), number)

work = Path(sys.argv[1])
def train(*hooks, **settings):
    checkpoint = {"by_epoch": False, "interval": 100, "save_last": False}
    line_runner(work, checkpoint, [*hooks, {"type": "PreemptionHook"}], **settings).train()
    print("done", flush=True)
"""


def run(folder: Path, code: str, *before: str) -> tuple[int, str, str]:
    """Status (negative: of a signal), output and errors of a process that runs ``code``."""
    script = folder / "script.py"
    script.write_text(START + code)
    done = subprocess.run(
        [sys.executable, *before, str(script), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(autouse=True)
def handlers():
    # nohup and others ignore signals, and whom the tests start would inherit that.
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ASKING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def stopped(tmp_path):
    """Trains in this process until a hook sends a signal; returns the checkpoint."""

    def train(hook, iteration: int, checkpoint=BY_ITERATION, hooks=(), **settings) -> dict:
        runner = line_runner(
            tmp_path, checkpoint, [hook, *hooks, {"type": "PreemptionHook"}], **settings
        )
        with pytest.raises(StoppedBySignal) as left:
            runner.train()
        assert left.value.code == STATUS == STOPPED == os.EX_TEMPFAIL
        path = tmp_path / f"iter_{iteration}.pth"
        assert (tmp_path / "last_checkpoint").read_text() == str(path)
        verify(path)
        assert [signal.getsignal(number) for number in ASKING] == [signal.SIG_DFL] * 2
        return torch.load(path, weights_only=False)

    return train


class Signalled(Hook):
    """Sends a signal to its own process at a point of the run."""

    def __init__(self, point: str, iteration: int, number: int = signal.SIGTERM) -> None:
        self.number, self.iteration = number, iteration
        setattr(self, point, self.send)

    def send(self, runner, **_) -> None:
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", ASKING)
def test_the_iteration_is_finished_and_saved(number, stopped, tmp_path):
    left = stopped(Signalled("before_train_iter", 3, number), 3)
    assert (left["meta"]["epoch"], left["meta"]["iter"]) == (0, 3)
    never = line_runner(tmp_path / "never", {**BY_ITERATION, "interval": 3}, iterations=3)
    never.train()
    weights = never.model.state_dict()
    assert all(torch.equal(left["state_dict"][key], weights[key]) for key in weights)
    assert "optimizer" in left


def test_epochs_are_left_inside(stopped, tmp_path):
    left = stopped(Signalled("before_train_iter", 7), 7, {"interval": 1}, epochs=3)
    assert (left["meta"]["epoch"], left["meta"]["iter"]) == (1, 7)
    assert sorted(file.name for file in tmp_path.glob("*.pth")) == ["epoch_1.pth", "iter_7.pth"]


def test_what_was_just_saved_is_not_saved_again(stopped):
    saved = []
    left = stopped(
        Signalled("before_train_iter", 2),
        2,
        {"by_epoch": False, "interval": 1},
        [Counting(saved)],
    )
    assert left["meta"]["iter"] == 2 and len(saved) == 2


class Counting(Hook):
    def __init__(self, saved: list) -> None:
        self.saved = saved

    def gather_for_checkpoint(self, runner) -> None:
        self.saved.append(runner.iter)


@pytest.mark.parametrize("averaged", [False, True])
def test_a_validation_is_left_at_once_with_the_trained_weights(averaged, stopped, tmp_path):
    hooks = [EMAHook(momentum=0.5)] if averaged else []
    seen = []

    class Look(Counting):
        priority = "VERY_HIGH"

        def after_train_iter(self, runner, **_) -> None:
            self.saved[:] = [{k: v.clone() for k, v in runner.model.state_dict().items()}]

        def after_val_iter(self, runner, batch_idx, **_) -> None:
            if runner.iter == 3:
                iterations.append(batch_idx)

    iterations = []
    left = stopped(
        Signalled("before_val_iter", 4), 3, hooks=[*hooks, Look(seen)], scores=SCORES, iterations=9
    )
    assert (left["meta"]["epoch"], left["meta"]["iter"]) == (0, 3) and iterations == [0]
    assert [file.name for file in tmp_path.glob("*.pth")] == ["iter_3.pth"]
    trained = left["state_dict"]
    if averaged:  # mmengine puts the averaged ones in their place
        trained = {k: left["ema_state_dict"][f"module.{k}"] for k in trained}
        assert not torch.equal(trained["fit.weight"], left["state_dict"]["fit.weight"])
    assert all(torch.equal(trained[key], value) for key, value in seen[0].items())


def test_in_a_validation_the_epochs_checkpoint_serves(stopped, tmp_path):
    hooks = [Signalled("before_val_iter", 5), {"type": "PreemptionHook"}]
    with pytest.raises(StoppedBySignal):
        line_runner(tmp_path, {"interval": 1}, hooks, epochs=3, scores=SCORES).train()
    assert [file.name for file in tmp_path.glob("*.pth")] == ["epoch_1.pth"]


def test_a_checkpoint_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    def fail(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(whole_files, "finish", fail)
    hooks = [Signalled("before_train_iter", 2), {"type": "PreemptionHook"}]
    with pytest.raises(OSError, match="stopped by SIGTERM after iteration 2, but its checkpoint"):
        line_runner(tmp_path, BY_ITERATION, hooks).train()


def test_without_our_checkpoint_hook_signals_are_let_be(tmp_path):
    class Look(Counting):
        def after_train_iter(self, runner, **_) -> None:
            self.saved.append(signal.getsignal(signal.SIGTERM))

    seen = []
    hooks = [Look(seen), {"type": "PreemptionHook"}]
    line_runner(tmp_path, {**BY_ITERATION, "type": "CheckpointHook"}, hooks, iterations=1).train()
    assert seen == [signal.SIG_DFL]


def test_the_process_leaves_with_the_status_and_a_line(tmp_path):
    status, out, err = run(tmp_path, "train(At(2, signalled(signal.SIGUSR1)))")
    assert status == 75 and "Traceback" not in err and "done" not in out
    path = tmp_path / "iter_2.pth"
    (line,) = (line for line in out.splitlines() if "stopped by" in line)
    assert line.endswith(
        f"stopped by SIGUSR1 after iteration 2: {path} is whole; start again with --resume"
    )


def test_a_second_signal_ends_it_as_it_would_have(tmp_path):
    code = """
def hang(runner):
    os.kill(os.getpid(), 15)
    os.kill(os.getpid(), signal.SIGUSR1)  # the same request
    print("on", flush=True)
    from mmconvnext.hooks import signals
    signals._SAME = 0.0
    os.kill(os.getpid(), 15)
    time.sleep(60)
bar = BeforeDeath(lambda: print("cursor", flush=True))
bar.start()
train(At(2, hang))
"""
    status, out, _ = run(tmp_path, code)
    assert status == -15 and out.splitlines()[-2:] == ["on", "cursor"]
    assert not list(tmp_path.glob("*.pth"))


WORKERS = """
class Look(Hook):
    priority = "VERY_LOW"
    def after_train_iter(self, runner, **_):
        if runner.iter + 1 == 6:
            workers = [w.pid for w in runner.train_loop.dataloader_iterator._iterator._workers]
            act(workers)
def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
def ended(pids):
    end = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, pids))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", ASKING)
def test_a_signal_for_the_whole_group_leaves_data_workers_to_finish(tmp_path, number):
    code = f"""
def act(workers):
    os.killpg(0, {int(number)})
    time.sleep(1.5)
    print("workers left", all(map(alive, workers)), flush=True)
    kept.extend(workers)
os.setsid()
kept = []
begun = time.monotonic()
try:
    train(Look(), workers=2, iterations=8)
except SystemExit as left:
    print(left.code, flush=True)
import gc
gc.collect()
print("all ended", ended(kept))
"""
    status, out, err = run(tmp_path, WORKERS + code)
    said = [line for line in out.splitlines() if "WARNING" not in line]
    assert (status, said) == (0, ["workers left True", "75", "all ended True"]), out + err
    verify(tmp_path / "iter_6.pth")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_data_worker_that_gets_sigterm_alone_ends_by_it(tmp_path):
    code = """
def act(workers):
    os.kill(workers[0], 15)
    # Until the last of its threads is gone: PyTorch hears of it then, and has to before the end.
    os.waitid(os.P_PID, workers[0], os.WEXITED | os.WNOWAIT)
    time.sleep(5)
train(Look(), workers=2, iterations=8)
"""
    status, out, err = run(tmp_path, WORKERS + code)
    assert status == 1 and "stopped by" not in out
    assert "is killed by signal: Terminated" in err


RANKS = """
import torch.distributed
from torch.utils.data import DataLoader, Subset
from mmengine.dist import get_rank
from sample_runner import Samples

class InValidation(Hook):
    def __init__(self, rank, batch):
        self.who = rank, batch
    def before_val_iter(self, runner, batch_idx, **_):
        if runner.iter == 2 and (get_rank(), batch_idx) == self.who:
            os.kill(os.getpid(), signal.SIGUSR1)
    def after_val_iter(self, runner, batch_idx, **_):
        seen.append((runner.iter, batch_idx))

torch.distributed.init_process_group("gloo")
for name, rank, batch, shares in (("even", 1, 1, (4, 4)), ("uneven", 0, 3, (4, 2))):
    seen = []
    work = Path(sys.argv[1], name)
    runner = line_runner(work, {"by_epoch": False, "interval": 100},
        [InValidation(rank, batch), {"type": "PreemptionHook"}], scores=[{"a": 0.0}] * 9)
    samples = Subset(Samples(), range(2 * shares[get_rank()]))
    runner._val_dataloader = DataLoader(samples, batch_size=2)
    try:
        runner.train()
    except SystemExit as left:
        last = Path((work / "last_checkpoint").read_text()).name
        print(f"rank {get_rank()} {name}: {left.code} {last} {seen[-1]}\\n", end="", flush=True)
"""


def test_processes_leave_a_validation_together_or_after_it(tmp_path):
    status, out, err = run(tmp_path, RANKS, *TORCHRUN)
    assert status == 0, out + err
    said = {line for line in out.splitlines() if line.startswith("rank")}
    assert said == {
        # Rank 1 is asked in its second batch of four.
        "rank 0 even: 75 iter_2.pth (2, 1)",
        "rank 1 even: 75 iter_2.pth (2, 1)",
        # Rank 0 is asked in its last batch, when rank 1, which has two, waits for it.
        "rank 0 uneven: 75 iter_3.pth (2, 3)",
        "rank 1 uneven: 75 iter_3.pth (2, 1)",
    }


def test_ignored_and_handled_signals_stay_so(tmp_path):
    def own(number, frame):
        pass

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, own)
    hooks = [Signalled("before_train_iter", 2, signal.SIGTERM), PreemptionHook()]
    line_runner(tmp_path, BY_ITERATION, hooks).train()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGUSR1) is own
