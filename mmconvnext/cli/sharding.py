"""``--fsdp``: a training config made to divide its model among the processes."""

from __future__ import annotations

from mmengine.config import Config

from mmconvnext.cli.errors import UsageError

RUNNER = "FlexibleRunner"
STRATEGY = "mmconvnext.FullyShardStrategy"


def use_fsdp(cfg: Config) -> None:
    """Train ``cfg`` by mmengine's FlexibleRunner with this package's strategy, in place.

    Raises:
        UsageError: one process only, or the config asks for what goes with whole models only.
    """
    if cfg.launcher == "none":
        raise UsageError(
            "--fsdp divides the model among processes, and this is one; start them with torchrun "
            "and --launcher pytorch"
        )
    if cfg.get("runner_type", RUNNER) != RUNNER:
        raise UsageError(
            f"--fsdp needs runner_type={RUNNER!r}, this config has {cfg.runner_type!r}"
        )
    for hook in cfg.get("custom_hooks") or []:
        if str(hook.get("type")).rpartition(".")[2] == "EMAHook":
            raise UsageError(
                "--fsdp: EMAHook copies the model, which PyTorch does not allow of a divided one; "
                "remove it from custom_hooks, or leave --fsdp out"
            )
    cfg.runner_type = RUNNER
    cfg.strategy = {"type": STRATEGY}
