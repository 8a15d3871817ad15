"""mmengine's checkpoint hook, with which neither a kill nor a full disk loses a checkpoint."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.fileio import get_file_backend
from mmengine.fileio.backends import LocalBackend
from mmengine.hooks import CheckpointHook

from mmconvnext.checkpoints import whole_files
from mmconvnext.registry import HOOKS, register_everywhere

# In the message hub, and so in the checkpoints: mmengine's, and two of our own.
_STOPPED, _OUTDATED = "stopped_ckpt", "outdated_ckpts"
_INFO = ("keep_ckpt_ids", "last_ckpt", "best_score", "best_ckpt", _STOPPED, _OUTDATED)
_ATTRIBUTES = ("last_ckpt", "keep_ckpt_ids", "best_ckpt_path", "best_ckpt_path_dict")


class _NotWrittenError(Exception):
    """A checkpoint could not be written; raised in all processes."""


@register_everywhere(HOOKS)
class WholeCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook``, all of its arguments included, and:

    - A checkpoint gets its name when all of it is on the disk, its SHA-256 beside it
      (``NAME.sha256``); ``last_checkpoint`` names it after that; only then are older ones removed,
      the previous best included.
    - What cannot be written (a full disk) is one warning: the older ones stay, training goes on,
      and the next interval tries again, in all processes alike. A run's last one is tried again at
      its end, where failing is an error.
    - Before each one the hook point ``gather_for_checkpoint`` is called, in all processes.

    That is for folders. To other storages (``backend_args``, ``file_client_args``) mmengine writes
    as ever; there, too, the older ones go last.
    """

    file_backend: Any
    keep_ckpt_ids: deque[int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.saved_at: tuple[int, int] | None = None  # epoch and iteration in the newest one
        self._local = True
        self._unsaved = False
        self._outdated: list[tuple[Callable[[str], None], str]] = []
        self._before: tuple[dict[str, Any], dict[str, Any]] = ({}, {})

    def before_train(self, runner: Any) -> None:
        """Find the folder, and clear away what a killed run has left in it."""
        super().before_train(runner)
        backend = get_file_backend(self.out_dir, backend_args=self.backend_args)
        self._local = self.file_client_args is None and isinstance(backend, LocalBackend)
        self.file_backend = _RemovingLater(self.file_backend, self._outdated)
        for path in runner.message_hub.get_info(_OUTDATED, []):
            # The run was killed before it came to that. Of a folder that is a copy, not the
            # original's.
            if path == self.file_backend.join_path(self.out_dir, Path(path).name):
                self._remove_later(path)
        self._remove_outdated(runner)
        if is_main_process():
            for folder in {runner.work_dir, *([self.out_dir] if self._local else [])}:
                whole_files.clear_left_over(Path(folder))

    def after_train(self, runner: Any) -> None:
        """Try a last checkpoint that could not be written again; publish as mmengine's does.

        Raises:
            OSError: it cannot be written.
        """
        if self._unsaved:
            step = runner.epoch if self.by_epoch else runner.iter
            meta = {"epoch": runner.epoch, "iter": runner.iter}
            self._save_checkpoint_with_step(runner, step, meta)
        if self._unsaved:
            raise OSError(
                f"training is done, but its last checkpoint could not be written to {self.out_dir} "
                f"(the log has the reason); the newest is {self.last_ckpt}"
            )
        super().after_train(runner)

    def save_now(self, runner: Any, epoch: int, iteration: int) -> str | None:
        """Write ``iter_N.pth`` outside the interval; all processes have to call it.

        Args:
            runner: of the training.
            epoch: how many are done: the run goes on from there.
            iteration: the same; it is the ``N``, whatever the hook counts in.

        Returns:
            The checkpoint's path; None if it could not be written, which the log says.
        """
        meta = {"epoch": epoch, "iter": iteration}
        if self.by_epoch:
            name = f"iter_{iteration}.pth"
            self._begin(runner)
            path = self.file_backend.join_path(self.out_dir, name)
            runner.message_hub.update_info(_STOPPED, path)
            self._save_newest(runner, name, meta, by_epoch=False)
        else:
            self._save_checkpoint_with_step(runner, iteration, meta)
        return None if self._unsaved else self.last_ckpt

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        runner = _Saving.unwrapped(runner)
        self._begin(runner)
        if self.max_keep_ckpts > 0:
            steps = [kept for kept in self.keep_ckpt_ids if kept != step] + [step]
            for old in steps[: -self.max_keep_ckpts]:
                name = self.filename_tmpl.format(old)
                self._remove_later(self.file_backend.join_path(self.out_dir, name))
            steps = steps[-self.max_keep_ckpts :]
            self.keep_ckpt_ids = deque(steps, self.max_keep_ckpts)
            runner.message_hub.update_info("keep_ckpt_ids", steps)
            if (stopped := runner.message_hub.pop_info(_STOPPED)) is not None:
                self._remove_later(stopped)
        self._save_newest(runner, self.filename_tmpl.format(step), meta, by_epoch=self.by_epoch)

    def _save_best_checkpoint(self, runner: Any, metrics: dict[str, Any]) -> None:
        """mmengine's, which removes the previous best first: here that waits for the new one, and
        what is not written leaves the best so far as it was."""
        self._begin(runner)
        try:
            super()._save_best_checkpoint(_Saving(runner, self._save_best), metrics)
        except _NotWrittenError:
            self._roll_back(runner)

    def _save_best(self, runner: Any, out_dir: str, filename: str, **settings: Any) -> None:
        self._write(runner, filename, **settings)
        self._commit(runner, self.file_backend.join_path(out_dir, filename))

    def _save_newest(
        self, runner: Any, filename: str, meta: dict[str, Any], *, by_epoch: bool
    ) -> None:
        """Write a checkpoint to go on from, and let ``last_checkpoint`` name it."""
        path = self.file_backend.join_path(self.out_dir, filename)
        self.last_ckpt = path
        runner.message_hub.update_info("last_ckpt", path)
        runner.message_hub.update_info(_OUTDATED, [old for _, old in self._outdated])
        work, position = Path(runner.work_dir), (meta["epoch"], meta["iter"])
        try:
            self._write(
                runner,
                filename,
                file_client_args=self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            self._in_main(runner, filename, lambda: whole_files.point_to(work, path))
        except _NotWrittenError:
            self._unsaved = True
            self._roll_back(runner)
        else:
            self._unsaved, self.saved_at = False, position
            self._commit(runner, path)

    def _write(self, runner: Any, filename: str, **settings: Any) -> None:
        """Write a checkpoint whole.

        Raises:
            _NotWrittenError: it could not be written; a warning has said why.
        """
        runner.call_hook("gather_for_checkpoint")
        save = partial(runner.save_checkpoint, self.out_dir, **settings)
        if not self._local:
            self._in_all(runner, filename, partial(save, filename=filename))
            return
        path = Path(self.out_dir, filename)
        written = whole_files.unfinished(path)
        try:
            self._in_all(runner, filename, partial(save, filename=written.name))
            self._in_main(runner, filename, lambda: whole_files.finish(path))
        finally:
            if is_main_process():
                with contextlib.suppress(OSError):
                    whole_files.discard(written)

    def _in_main(self, runner: Any, filename: str, write: Callable[[], None]) -> None:
        self._in_all(runner, filename, write if is_main_process() else lambda: None)

    def _in_all(self, runner: Any, filename: str, write: Callable[[], None]) -> None:
        """Call ``write`` in all processes, which then agree whether it went well in all."""
        problem = ""
        try:
            write()
        except OSError as error:
            problem = error.strerror or str(error)
        well = torch.tensor(int(not problem))
        all_reduce(well, "min")
        if not well:
            runner.logger.warning(
                f"checkpoint {filename} is not written: "
                f"{problem or 'another process failed'}; the earlier ones are kept, "
                "training goes on and tries again at the next interval"
            )
            raise _NotWrittenError

    def _begin(self, runner: Any) -> None:
        """Remember what is to hold again if what is written next is not."""
        self._outdated.clear()
        hub = runner.message_hub.runtime_info
        self._before = (
            {key: value for key, value in hub.items() if key.startswith(_INFO)},
            {name: copy(getattr(self, name)) for name in _ATTRIBUTES if hasattr(self, name)},
        )

    def _roll_back(self, runner: Any) -> None:
        self._outdated.clear()
        info, attributes = self._before
        hub = runner.message_hub
        for key in [key for key in hub.runtime_info if key.startswith(_INFO)]:
            hub.pop_info(key)
        for key, value in info.items():
            hub.update_info(key, value)
        for name, value in attributes.items():
            setattr(self, name, value)

    def _commit(self, runner: Any, written: str) -> None:
        """``written`` is whole: what it makes superfluous can go."""
        self._outdated[:] = [item for item in self._outdated if item[1] != written]
        self._remove_outdated(runner)
        self._begin(runner)

    def _remove_later(self, path: str) -> None:
        if not is_main_process():
            return
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):
            self.file_backend.rmtree(path)

    def _remove_outdated(self, runner: Any) -> None:
        for remove, path in self._outdated:
            try:
                remove(path)
                if self._local:
                    whole_files.sidecar(Path(path)).unlink(missing_ok=True)
            except OSError as error:
                runner.logger.warning(f"checkpoint {path} cannot be removed: {error.strerror}")
        self._outdated.clear()


class _RemovingLater:
    """A storage that notes what is to be removed, and does not."""

    def __init__(self, backend: Any, noted: list[tuple[Callable[[str], None], str]]) -> None:
        self._backend, self._noted = backend, noted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        """Note a file."""
        self._noted.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        """Note a folder."""
        self._noted.append((self._backend.rmtree, path))


class _Saving:
    """A runner that saves checkpoints as the hook does."""

    def __init__(self, runner: Any, save: Callable[..., None]) -> None:
        self._runner = runner
        self.save_checkpoint = partial(save, runner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    @staticmethod
    def unwrapped(runner: Any) -> Any:
        """The runner itself."""
        return runner._runner if isinstance(runner, _Saving) else runner
