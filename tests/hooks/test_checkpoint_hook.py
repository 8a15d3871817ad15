"""The checkpoint hook beside mmengine's own, on a full disk, and in runs that are killed."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.fileio.backends import LocalBackend
from mmengine.hooks import Hook
from sample_runner import line_runner

from mmconvnext.checkpoints.newest import newest_whole
from mmconvnext.checkpoints.whole_files import sidecar, unfinished, verify

BY_ITERATION = {"by_epoch": False, "interval": 1}
SCORES = [{"a": 0.3, "b": 1.0}, {"a": 0.2, "b": 2.0}, {"a": 0.5, "b": 3.0}, {"a": 0.4, "b": 9.0}]


def content(path: Path) -> dict:
    return torch.load(path, weights_only=False)


def same(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def checkpoints(folder: Path) -> list[str]:
    """Names of the checkpoints in ``folder``, all of them whole and with a checksum; there is
    nothing else but mmengine's folder of logs, its config and ``last_checkpoint``."""
    files = sorted(file for file in folder.iterdir() if file.name != "last_checkpoint")
    whole = [file for file in files if file.suffix == ".pth"]
    for file in whole:
        verify(file)
        assert sidecar(file) in files
    others = {*files} - {*whole} - {sidecar(file) for file in whole}
    assert all(file.is_dir() or file.suffix == ".py" for file in others), others
    return [file.name for file in whole]


@pytest.fixture
def full_disk(monkeypatch):
    """From now on a file whose name has ``text`` in it is written by half."""
    put = LocalBackend.put

    def fill(text: str, times: int = 1) -> None:
        left = [times]

        def write(self, obj, filepath):
            if text in Path(filepath).name and left[0]:
                left[0] -= 1
                put(self, obj[: len(obj) // 2], filepath)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(filepath))
            put(self, obj, filepath)

        monkeypatch.setattr(LocalBackend, "put", write)

    return fill


@pytest.mark.parametrize(
    "settings",
    [
        {"by_epoch": False, "interval": 3},
        {"by_epoch": False, "interval": 3, "save_last": False},
        {
            "by_epoch": False,
            "interval": 1,
            "max_keep_ckpts": 2,
            "save_best": "given/a",
            "rule": "less",
        },
        {"interval": 2, "max_keep_ckpts": 1, "filename_tmpl": "at_{}.pth", "save_optimizer": False},
        {"interval": 2, "save_best": ["given/a", "given/b"], "rule": "greater"},
        {"interval": -1, "save_best": "auto", "rule": "less", "save_last": False},
        {"interval": 1, "save_begin": 3, "published_keys": ["state_dict"]},
    ],
    ids=str,
)
def test_what_is_kept_is_what_mmengine_keeps(settings, tmp_path):
    epochs = 4 * settings.get("by_epoch", True)
    runners = {}
    for kind in ("CheckpointHook", "mmconvnext.WholeCheckpointHook"):
        folder = tmp_path / kind
        checkpoint = {"type": kind, **settings}
        runners[folder] = line_runner(folder, checkpoint, epochs=epochs, scores=SCORES)
        runners[folder].train()
    (stock, theirs), (own, ours) = runners.items()
    stock_files = sorted(file.name for file in stock.glob("*.pth"))
    published = "published_keys" in settings  # by mmengine, which writes them itself
    own_files = sorted(f.name for f in own.glob("*.pth")) if published else checkpoints(own)
    names = [name.partition("-")[0] for name in stock_files]  # a published one's has a checksum
    assert [name.partition("-")[0] for name in own_files] == names and len(names) > 0
    for name, other in zip(stock_files, own_files, strict=True):
        one, two = content(stock / name), content(own / other)
        assert same(one["state_dict"], two["state_dict"])
        assert one.keys() == two.keys()
        if "meta" in one:
            assert {key: one["meta"][key] for key in ("epoch", "iter")} == {
                key: two["meta"][key] for key in ("epoch", "iter")
            }
    pointers = [folder / "last_checkpoint" for folder in (stock, own)]
    assert pointers[0].exists() == pointers[1].exists()
    if pointers[0].exists():
        assert Path(pointers[0].read_text()).name == Path(pointers[1].read_text()).name
        assert pointers[1].read_text().startswith(str(own))
    info = [
        {
            key: str(value).replace(str(folder), "")
            for key, value in runner.message_hub.runtime_info.items()
            if key.startswith(("keep", "best", "last"))
        }
        for folder, runner in runners.items()
    ]
    assert info[0] == info[1]
    assert theirs.iter == ours.iter


class Gathering(Hook):
    """Puts into a checkpoint what the hook point gathered just before."""

    gathered = 0

    def gather_for_checkpoint(self, runner) -> None:
        self.gathered += 1

    def before_save_checkpoint(self, runner, checkpoint) -> None:
        checkpoint["gathered"] = self.gathered


def test_state_is_gathered_before_each_one(tmp_path):
    settings = {"by_epoch": False, "interval": 2, "save_best": "given/a", "rule": "greater"}
    line_runner(tmp_path, settings, [Gathering()], scores=SCORES).train()
    found = {name: content(tmp_path / name)["gathered"] for name in checkpoints(tmp_path)}
    # 1 best at 1; 2 at 2; 3 best at 3, 4 at 3, since the message hub has changed; 5 at 4.
    assert found == {
        "iter_2.pth": 2,
        "best_given_a_iter_3.pth": 3,
        "iter_3.pth": 4,
        "iter_4.pth": 5,
    }


def test_the_old_ones_go_when_the_new_one_is_whole_and_named(tmp_path, monkeypatch):
    remove, removed = LocalBackend.remove, []

    def look(self, filepath):
        pointed = Path((tmp_path / "last_checkpoint").read_text())
        verify(pointed)
        whole = {file.name for file in tmp_path.glob("*.pth")}
        for file in tmp_path.glob("*.pth"):
            verify(file)
        removed.append((Path(filepath).name, pointed.name, whole))
        remove(self, filepath)

    monkeypatch.setattr(LocalBackend, "remove", look)
    settings = {**BY_ITERATION, "max_keep_ckpts": 1, "save_best": "given/a", "rule": "greater"}
    line_runner(tmp_path, settings, iterations=3, scores=SCORES).train()
    best = "best_given_a_iter_{}.pth"
    assert removed == [
        ("iter_1.pth", "iter_2.pth", {"iter_1.pth", "iter_2.pth", best.format(1)}),
        ("iter_2.pth", "iter_3.pth", {"iter_2.pth", "iter_3.pth", best.format(1)}),
        (best.format(1), "iter_3.pth", {"iter_3.pth", best.format(1), best.format(3)}),
    ]


def test_a_full_disk_costs_one_checkpoint_and_a_line(tmp_path, full_disk, caplog):
    full_disk("iter_3.pth")
    settings = {**BY_ITERATION, "max_keep_ckpts": 2}
    runner = line_runner(tmp_path, settings, iterations=3, default_scope="mmengine")
    runner.logger.addHandler(caplog.handler)

    class Look(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner, **_) -> None:
            if runner.iter == 2:
                assert checkpoints(tmp_path) == ["iter_1.pth", "iter_2.pth"]
                assert (tmp_path / "last_checkpoint").read_text().endswith("iter_2.pth")
                assert runner.message_hub.get_info("keep_ckpt_ids") == [1, 2]

    runner.register_hook(Look())
    runner.train()
    (line,) = (r.getMessage() for r in caplog.records if "is not written" in r.getMessage())
    assert line == (
        "checkpoint iter_3.pth is not written: No space left on device; the earlier ones are "
        "kept, training goes on and tries again at the next interval"
    )
    # It was the last one: tried again, with success.
    assert checkpoints(tmp_path) == ["iter_2.pth", "iter_3.pth"]
    last = content(tmp_path / "iter_3.pth")
    assert last["message_hub"]["runtime_info"]["keep_ckpt_ids"] == [2, 3]
    assert (last["meta"]["epoch"], last["meta"]["iter"]) == (0, 3)


def test_a_missed_one_leaves_the_others_numbers_right(tmp_path, full_disk):
    full_disk("epoch_2.pth")
    line_runner(tmp_path, {"interval": 1, "max_keep_ckpts": 2}, epochs=4).train()
    assert checkpoints(tmp_path) == ["epoch_3.pth", "epoch_4.pth"]
    assert content(tmp_path / "epoch_3.pth")["message_hub"]["runtime_info"]["keep_ckpt_ids"] == [
        1,
        3,
    ]


def test_a_best_one_that_is_not_written_leaves_the_best_before(tmp_path, full_disk):
    full_disk("best_given_a_iter_3.pth")
    settings = {**BY_ITERATION, "save_best": ["given/b", "given/a"], "rule": "greater"}
    runner = line_runner(tmp_path, settings, iterations=3, scores=SCORES)
    runner.train()
    assert [name for name in checkpoints(tmp_path) if name.startswith("best")] == [
        "best_given_a_iter_1.pth",
        "best_given_b_iter_3.pth",
    ]
    hub = runner.message_hub
    assert hub.get_info("best_score_given/a") == 0.3
    assert hub.get_info("best_ckpt_given/a") == str(tmp_path / "best_given_a_iter_1.pth")
    assert hub.get_info("best_score_given/b") == 3.0


def test_a_last_one_that_cannot_be_written_is_an_error(tmp_path, full_disk):
    full_disk("epoch_2.pth", times=2)
    runner = line_runner(tmp_path, {"interval": 1}, epochs=2)
    with pytest.raises(OSError, match=r"its last checkpoint could not be written .*/epoch_1\.pth"):
        runner.train()
    assert checkpoints(tmp_path) == ["epoch_1.pth"]


def test_other_errors_are_errors_and_leave_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(LocalBackend, "put", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        line_runner(tmp_path, BY_ITERATION).train()
    assert checkpoints(tmp_path) == []


def test_a_disk_that_is_really_full(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)]
    if (
        os.name == "nt"
        or os.geteuid() != 0
        or subprocess.run(mount, capture_output=True).returncode
    ):
        pytest.skip("a small disk takes a mount, for which one has to be root")
    try:
        filling = small / "filling"

        class Fill(Hook):
            priority = "VERY_HIGH"

            def after_train_iter(self, runner, **_) -> None:
                if runner.iter == 1:
                    with pytest.raises(OSError, match="No space"), filling.open("wb") as file:
                        while True:
                            file.write(bytes(4096))
                            file.flush()
                elif runner.iter == 2:
                    filling.unlink()

        settings = {**BY_ITERATION, "out_dir": str(small)}
        line_runner(tmp_path / "work", settings, [Fill()], iterations=3).train()
        assert checkpoints(small / "work") == ["iter_1.pth", "iter_3.pth"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


KILLED = """
import os, signal, sys
from pathlib import Path
from mmengine.fileio.backends import LocalBackend
from mmconvnext.checkpoints import whole_files, writing
from sample_runner import line_runner

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def by_half(self, obj, filepath):
    if "iter_3" in str(filepath):
        Path(filepath).write_bytes(obj[: len(obj) // 2])
        die()
    put(self, obj, filepath)

def dying_for(function, number):
    calls = []
    def call(*arguments):
        calls.append(arguments)
        if len(calls) == number:
            die()
        return function(*arguments)
    return call

put, remove = LocalBackend.put, LocalBackend.remove
WAYS = {
    "half of the file": lambda: setattr(LocalBackend, "put", by_half),
    "before it has its name": lambda: setattr(Path, "replace", dying_for(Path.replace, 7)),
    "before its checksum": lambda: setattr(Path, "replace", dying_for(Path.replace, 8)),
    "before last_checkpoint": lambda: setattr(Path, "replace", dying_for(Path.replace, 9)),
    "before the old one goes": lambda: setattr(LocalBackend, "remove", dying_for(remove, 2)),
}
folder = Path(sys.argv[1])
for way, prepare in WAYS.items():
    if os.fork() == 0:
        os.setsid()
        prepare()
        settings = {"by_epoch": False, "interval": 1, "max_keep_ckpts": 1}
        line_runner(folder / way, settings, iterations=4, log_level="ERROR").train()
        os._exit(0)
    print(way, os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


def test_a_kill_while_writing_leaves_a_whole_checkpoint(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    newest = {
        "half of the file": "iter_2.pth",
        "before it has its name": "iter_2.pth",
        "before its checksum": "iter_2.pth",
        "before last_checkpoint": "iter_2.pth",
        "before the old one goes": "iter_3.pth",
    }
    assert ran.stdout.splitlines() == [f"{way} -9" for way in newest], ran.stderr
    never = tmp_path / "never"
    line_runner(never, BY_ITERATION).train()
    for way, name in newest.items():
        found = newest_whole(tmp_path / way)
        assert (Path(str(found.path)).name, found.passed_over) == (name, []), way
        for file in (tmp_path / way).glob("*.pth"):
            verify(file)
        settings = {**BY_ITERATION, "max_keep_ckpts": 1}
        runner = line_runner(tmp_path / way, settings, load_from=found.path, resume=True)
        runner.train()
        assert checkpoints(tmp_path / way) == ["iter_4.pth"], way
        ended = [content(folder / "iter_4.pth") for folder in (tmp_path / way, never)]
        assert same(ended[0]["state_dict"], ended[1]["state_dict"])


def test_the_rest_of_a_killed_run_is_cleared_at_the_next_start(tmp_path):
    left = unfinished(tmp_path / "iter_9.pth")
    left.write_text("half")
    line_runner(tmp_path, BY_ITERATION, iterations=1).train()
    assert not left.exists()


def test_in_a_copied_folder_the_originals_files_stay(tmp_path):
    settings = {**BY_ITERATION, "max_keep_ckpts": 1}
    original, copy = tmp_path / "original", tmp_path / "copy"
    line_runner(original, settings, iterations=2).train()
    (original / "iter_1.pth").write_text("put back")
    resumed = str(original / "iter_2.pth")
    line_runner(copy, settings, iterations=3, load_from=resumed, resume=True).train()
    assert (original / "iter_1.pth").exists()


@pytest.mark.parametrize("by_epoch", [True, False])
def test_one_more_at_any_iteration(by_epoch, tmp_path):
    class Now(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner, **_) -> None:
            if runner.iter == 5:
                hook = runner.hooks[-2]
                path = hook.save_now(runner, runner.epoch, 6)
                assert path == str(tmp_path / "iter_6.pth") and hook.saved_at == (runner.epoch, 6)
                seen.extend(checkpoints(tmp_path))
                pointed.append((tmp_path / "last_checkpoint").read_text())
                meta = content(tmp_path / "iter_6.pth")["meta"]
                assert (meta["epoch"], meta["iter"]) == (runner.epoch, 6)

    seen, pointed = [], []
    settings = {"by_epoch": by_epoch, "interval": 1 if by_epoch else 4, "max_keep_ckpts": 1}
    runner = line_runner(tmp_path, settings, [Now()], iterations=8, epochs=2 * by_epoch)
    runner.train()
    # By iterations it is one of those that are kept; by epochs it is one more until the next.
    assert seen == (["epoch_1.pth", "iter_6.pth"] if by_epoch else ["iter_6.pth"])
    assert pointed == [str(tmp_path / "iter_6.pth")]
    assert checkpoints(tmp_path) == (["epoch_2.pth"] if by_epoch else ["iter_8.pth"])


def test_one_more_that_cannot_be_written_is_told(tmp_path, full_disk):
    full_disk("iter_2.pth", times=9)

    class Now(Hook):
        def after_train_iter(self, runner, **_) -> None:
            if runner.iter == 1:
                assert runner.hooks[-1].save_now(runner, 0, 2) is None

    line_runner(tmp_path, {"interval": 1}, [Now()], epochs=1).train()
    assert checkpoints(tmp_path) == ["epoch_1.pth"]


def test_what_mmengine_writes_by_other_means_stays_its_own(tmp_path):
    settings = {**BY_ITERATION, "max_keep_ckpts": 1, "file_client_args": {"backend": "disk"}}
    line_runner(tmp_path, settings, iterations=2).train()
    files = [file for file in tmp_path.iterdir() if file.is_file() and file.suffix != ".py"]
    assert sorted(file.name for file in files) == ["iter_2.pth", "last_checkpoint"]


def test_what_cannot_be_removed_is_a_warning(tmp_path, monkeypatch, caplog):
    def fail(self, filepath):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(LocalBackend, "remove", fail)
    runner = line_runner(tmp_path, {**BY_ITERATION, "max_keep_ckpts": 1}, iterations=2)
    runner.logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        runner.train()
    assert (
        f"checkpoint {tmp_path / 'iter_1.pth'} cannot be removed: Permission denied" in caplog.text
    )


RANKS = """
import os, sys
from pathlib import Path
import torch.distributed
from mmengine.fileio.backends import LocalBackend
from mmengine.dist import get_rank
from sample_runner import line_runner

put = LocalBackend.put
def write(self, obj, filepath):
    if "iter_2" in str(filepath):
        raise OSError(28, "No space left on device")
    put(self, obj, filepath)
LocalBackend.put = write
torch.distributed.init_process_group("gloo")
settings = {"by_epoch": False, "interval": 1, "max_keep_ckpts": 1}
for iterations in (3, 2):
    runner = line_runner(Path(sys.argv[1], str(iterations)), settings, iterations=iterations)
    try:
        runner.train()
    except OSError as error:
        print(f"rank {get_rank()}: {error}\\n", end="", flush=True)
    kept = runner.message_hub.get_info("keep_ckpt_ids")
    print(f"rank {get_rank()}: of {iterations} kept {kept}\\n", end="", flush=True)
"""


def test_a_failure_of_the_first_of_two_processes_keeps_them_in_step(tmp_path):
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    ran = subprocess.run(
        [sys.executable, *launcher, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = ran.stdout.splitlines()
    for rank in range(2):
        start = f"rank {rank}: "
        said = [line.removeprefix(start) for line in lines if line.startswith(start)]
        of_three, error, of_two = said
        assert (of_three, of_two) == ("of 3 kept [3]", "of 2 kept [1]")
        assert error.startswith("training is done, but its last checkpoint could not be written")
    assert checkpoints(tmp_path / "3") == ["iter_3.pth"]
    assert checkpoints(tmp_path / "2") == ["iter_1.pth"]
