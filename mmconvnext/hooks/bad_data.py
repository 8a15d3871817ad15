"""Names pictures that cannot be used, goes on without them if asked to, and counts them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmconvnext.data.guarding import guard
from mmconvnext.registry import HOOKS, register_everywhere

RECORD = "bad_data.jsonl"


@register_everywhere(HOOKS)
class BadDataHook(Hook):
    """What only decoding finds: a picture that is broken in the middle, labels without a class.

    Training: the run stops with the file, the id and what is wrong; with ``skip`` the data set
    takes another picture (drawn as mmengine does it), and every process notes what it left out in
    ``bad_data.jsonl`` in the work directory, which the first process tells in the log and counts
    at the end. Validation and testing always stop: their figures would be another data set's.

    Args:
        skip: whether training goes on without such pictures.
        interval: iterations between two looks at what was left out.
    """

    priority = "LOWEST"  # another hook may exchange the pipeline first

    def __init__(self, skip: bool = False, interval: int = 50) -> None:
        self.skip, self.interval = skip, interval
        self._read: int | None = None  # bytes of the record
        self._times: Counter[str] = Counter()

    def watch(self, runner: Runner) -> None:
        """Have the training data guarded as soon as ``runner`` has made them.

        mmengine's loop that counts iterations starts the data workers when it is built, before any
        hook is asked. Without this call its workers' data are not guarded.
        """
        build_loader, build_loop = runner.build_dataloader, runner.build_train_loop

        def guarded_loader(*args: Any, **settings: Any) -> DataLoader[Any]:
            loader: DataLoader[Any] = build_loader(*args, **settings)
            self._guard(runner, loader.dataset)
            return loader

        def guarded_loop(loop: Any) -> Any:
            runner.build_dataloader = guarded_loader
            try:
                return build_loop(loop)
            finally:
                runner.build_dataloader = build_loader

        runner.build_train_loop = guarded_loop

    def before_train(self, runner: Runner) -> None:
        """Guard the training data if nobody called :meth:`watch`."""
        self._guard(runner, runner.train_dataloader.dataset)

    def before_train_epoch(self, runner: Runner) -> None:
        """Guard them again if their pipeline was exchanged."""
        self._guard(runner, runner.train_dataloader.dataset)

    def before_val(self, runner: Runner) -> None:
        """Have what validation stumbles over named."""
        guard(runner.val_dataloader.dataset, None)

    def before_test(self, runner: Runner) -> None:
        """Have what testing stumbles over named."""
        guard(runner.test_dataloader.dataset, None)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Tell what was left out since the last look."""
        if self.skip and self.every_n_train_iters(runner, self.interval):
            self._tell(runner)

    def after_train(self, runner: Runner) -> None:
        """Tell how many pictures were left out."""
        if not self.skip or not is_main_process():
            return
        self._tell(runner)
        if self._times:
            runner.logger.warning(
                f"bad data: {len(self._times)} pictures were left out, "
                f"{self._times.total()} times in all, others taken in their place: "
                f"{self._record(runner)}"
            )
        else:
            runner.logger.info("bad data: no picture was left out in training")

    def _guard(self, runner: Runner, dataset: Any) -> None:
        record = self._record(runner)
        if self._read is None:  # what is in it from here on is this session's
            self._read = record.stat().st_size if record.exists() else 0
        guard(dataset, record if self.skip else None)

    def _tell(self, runner: Runner) -> None:
        """Log the new pictures in the record; a line that is being written waits."""
        record = self._record(runner)
        if not is_main_process() or not record.exists() or record.stat().st_size == self._read:
            return
        before = self._read or 0
        with record.open("rb") as file:
            file.seek(before)
            whole = file.read().rpartition(b"\n")[0]
        self._read = before + (len(whole) + 1 if whole else 0)
        for line in whole.decode().splitlines():
            entry = json.loads(line)
            if not self._times[entry["picture"]]:
                runner.logger.warning(f"bad data, left out: {entry['line']}")
            self._times[entry["picture"]] += 1

    def _record(self, runner: Runner) -> Path:
        return Path(runner.work_dir).resolve() / RECORD
