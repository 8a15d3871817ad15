"""``--max-iters``: turns any training schedule into one of a given number of iterations."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config

from mmconvnext.cli.errors import UsageError

_CHECKPOINT_EVERY = 1000
_LOGS_PER_RUN = 10
_LENGTHS = ("T_max", "total_steps", "step_size")


def set_max_iters(cfg: Config, iterations: int) -> None:
    """Make ``cfg`` train for ``iterations`` iterations, save at the end, and validate then if it
    validates at all.

    Warm-up keeps its length in iterations; the rest of the schedule (milestones, ends) is scaled to
    the new length, so that a shorter run sees the whole of it. A scheduler that would begin after
    the last iteration is left out.
    """
    loop = cfg.get("train_cfg")
    if not loop:
        raise UsageError("--max-iters: this config has no train_cfg, so it trains nothing")
    by_epoch = is_by_epoch(loop)
    total = loop.get("max_epochs" if by_epoch else "max_iters")
    if not total:
        raise UsageError("--max-iters: train_cfg has neither max_epochs nor max_iters to replace")
    validate_every = (
        iterations if by_epoch else min(loop.get("val_interval", iterations), iterations)
    )
    cfg.train_cfg = {
        "type": "IterBasedTrainLoop",
        "max_iters": iterations,
        "val_interval": validate_every,
    }
    _rescale_schedulers(cfg, by_epoch, total, iterations)
    _fit_hooks(cfg, by_epoch, iterations)
    sampler = cfg.train_dataloader.get("sampler") or {}
    if sampler.get("type") == "DefaultSampler":
        # An iteration-based loop restarts a finite loader with new workers and a pause of two
        # seconds.
        cfg.train_dataloader.sampler = {
            "type": "InfiniteSampler",
            "shuffle": sampler.get("shuffle", True),
        }


def is_by_epoch(loop: dict[str, Any]) -> bool:
    """Whether a ``train_cfg`` counts its length in epochs."""
    if "type" in loop:
        return "max_epochs" in loop
    return bool(loop.get("by_epoch", True))


def _rescale_schedulers(cfg: Config, by_epoch: bool, total: int, iterations: int) -> None:
    schedulers = cfg.get("param_scheduler")
    if not schedulers:
        return
    if isinstance(schedulers, dict):
        if "type" not in schedulers:  # one list for each of several optimizers
            raise UsageError(
                "--max-iters does not know schedulers for several optimizers; set max_iters by "
                "--cfg-options"
            )
        schedulers = [schedulers]
    rescaled = [_rescale(dict(s), by_epoch, total, iterations) for s in schedulers]
    cfg.param_scheduler = [
        s for s in rescaled if s.get("begin", 0) < min(s.get("end", iterations), iterations)
    ]


def _rescale(
    scheduler: dict[str, Any], by_epoch: bool, total: int, iterations: int
) -> dict[str, Any]:
    ratio = iterations / total
    if not scheduler.get("by_epoch", True):
        if by_epoch or scheduler.get("end", total) < total:
            return scheduler  # warm-up, counted in iterations
        if "end" in scheduler:
            # Some end a step later than the loop, to reach the last value; that step is kept.
            scheduler["end"] += iterations - total
        return _stretch(scheduler, ratio, _LENGTHS)
    if not by_epoch:
        kind = scheduler.get("type")
        raise UsageError(f"--max-iters: {kind} counts epochs in a config that trains by iterations")
    scheduler.pop("convert_to_iter_based", None)
    scheduler["by_epoch"] = False
    scheduler["begin"] = round(scheduler.get("begin", 0) * ratio)
    return _stretch(scheduler, ratio, ("end", *_LENGTHS))


def _stretch(scheduler: dict[str, Any], ratio: float, keys: tuple[str, ...]) -> dict[str, Any]:
    for key in keys:
        if key in scheduler:
            scheduler[key] = max(1, round(scheduler[key] * ratio))
    if "milestones" in scheduler:
        scheduler["milestones"] = [max(1, round(m * ratio)) for m in scheduler["milestones"]]
    if scheduler.get("type") == "ExponentialLR":
        scheduler["gamma"] = scheduler["gamma"] ** (1 / ratio)
    return scheduler


def _fit_hooks(cfg: Config, by_epoch: bool, iterations: int) -> None:
    hooks = dict(cfg.get("default_hooks") or {})
    checkpoint = dict(hooks.get("checkpoint") or {"type": "CheckpointHook"})
    every = _CHECKPOINT_EVERY if by_epoch else checkpoint.get("interval", _CHECKPOINT_EVERY)
    if every > 0:
        checkpoint.update(by_epoch=False, interval=min(every, iterations), save_last=True)
    logger = dict(hooks.get("logger") or {"type": "LoggerHook"})
    often = max(1, iterations // _LOGS_PER_RUN)
    logger.update(interval=min(logger.get("interval", 10), often), log_metric_by_epoch=False)
    cfg.default_hooks = {**hooks, "checkpoint": checkpoint, "logger": logger}
    cfg.log_processor = {
        **(cfg.get("log_processor") or {"type": "LogProcessor"}),
        "by_epoch": False,
    }
