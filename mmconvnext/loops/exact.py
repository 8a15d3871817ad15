"""mmengine's training loops, able to go on in the middle as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import DataLoader

from mmconvnext.loops.generators import untouched
from mmconvnext.loops.positions import take_positions
from mmconvnext.registry import LOOPS, register_everywhere


class _Exact(BaseLoop):
    """What both loops share.

    Training alone draws from the generators: samples have random numbers of their own, and what
    loaders and validation draw is not missing afterwards.

    Attributes:
        validated: the iteration after which a validation was finished last, -1 before the first;
            None if that is not known. ``ExactStateHook`` keeps it.
    """

    validated: int | None = None

    def __init__(self, runner: Any, dataloader: DataLoader | dict, **settings: Any) -> None:
        BaseLoop.__init__(self, runner, dataloader)  # builds it
        self._positions = take_positions(self.dataloader)
        if self._positions is not None and not len(self._positions):
            raise ValueError(
                f"training data: {len(self.dataloader.dataset)} samples make no batch of "
                f"{self.dataloader.batch_size}; take a smaller batch, or drop_last=False"
            )
        super().__init__(runner, self.dataloader, **settings)

    def _begin(self, skipped: int) -> None:
        """Before the first batch of a run or an epoch, with so many of it done."""
        if self._positions is not None:
            self._positions.begin(self.iter, seed=self.runner.seed, skipped=skipped)
        elif skipped:
            self.runner.logger.warning(
                f"the training data have no batch sampler: their first {skipped} batches come again"
            )

    def _batches(self) -> Iterator[Any]:
        with untouched():  # a loader's iterator draws a seed for its workers
            return iter(self.dataloader)

    def _validate_if_due(self, now: int, last: int) -> None:
        if (
            self.runner.val_loop is not None
            and now >= self.val_begin
            and (now % self.val_interval == 0 or now == last)
        ):
            with untouched():
                self.runner.val_loop.run()

    def _validation_is_missing(self) -> bool:
        """Whether the run was broken off between this iteration and the end of its validation."""
        return self.iter > 0 and self.validated is not None and self.validated != self.iter


@register_everywhere(LOOPS)
class ExactEpochBasedTrainLoop(_Exact, EpochBasedTrainLoop):
    """mmengine's ``EpochBasedTrainLoop`` that goes on inside an epoch, at the batch after the last
    one trained, and makes up for a validation that was broken off.

    Args:
        runner, dataloader, settings: as mmengine's.

    Attributes:
        within: batches of the current epoch that are done. ``ExactStateHook`` keeps it: without, a
            resumed run begins its epoch anew, as mmengine's does.
    """

    within = 0

    def run(self) -> Any:
        """Train; returns the model."""
        self.runner.call_hook("before_train")
        self._decide_current_val_interval()
        if self._validation_is_missing() and self.within == 0:
            self._validate_if_due(self.epoch, self.max_epochs)
        while self.epoch < self.max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            self._validate_if_due(self.epoch, self.max_epochs)
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        """Train one epoch, or what is left of it."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        self._begin(self.within)
        for number, batch in enumerate(self._batches(), self.within if self._positions else 0):
            self.run_iter(number, batch)
            self.within = number + 1
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1
        self.within = 0


@register_everywhere(LOOPS)
class ExactIterBasedTrainLoop(_Exact, IterBasedTrainLoop):
    """mmengine's ``IterBasedTrainLoop`` that goes on at the batch after the last one trained
    without reading those before it, and makes up for a validation that was broken off.

    Args:
        runner, dataloader, settings: as mmengine's.
    """

    def run(self) -> Any:
        """Train; returns the model."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self._begin(self.iter)
        self.dataloader_iterator = self._endlessly()
        self._decide_current_val_interval()
        if self._validation_is_missing():
            self._validate_if_due(self.iter, self.max_iters)
        while self.iter < self.max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._decide_current_val_interval()
            self._validate_if_due(self.iter, self.max_iters)
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _endlessly(self) -> Iterator[Any]:
        while True:
            yield from self._batches()
            if self._positions is not None:
                self._positions.next_pass()
