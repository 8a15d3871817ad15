"""``lr``: the learning rate of each layer over the schedule, as a table and a picture."""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmconvnext.cli.backbone import add_backbone_options
from mmconvnext.cli.errors import OneLineParser, UsageError, report_errors
from mmconvnext.cli.options import add_config_options, positive

if TYPE_CHECKING:
    import numpy as np
    from mmengine.config import Config

    from mmconvnext.optim import LayerRate
    from mmconvnext.optim.schedule import Length

PICTURES = (".png", ".svg", ".pdf")
_LOGGED = 10  # mmengine's LoggerHook tells every tenth iteration


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 failed, 2 bad input, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    return report_errors(
        "mmconvnext lr", lambda: show_rates(parser().parse_args(argv)), debug="--debug" in argv
    )


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext lr",
        description="Show the learning rate of each layer over the schedule: what training with "
        "the config would log. Nothing is trained, no weights are loaded.",
    )
    add_config_options(options)
    add_backbone_options(options, required=False)
    options.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help=f"a picture ({', '.join(PICTURES)})"
    )
    options.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="the rates of all groups at the iterations that are logged",
    )
    options.add_argument(
        "--epoch-length",
        type=positive,
        metavar="N",
        help="iterations in an epoch (default: those of the data in one process)",
    )
    options.add_argument("--data-root", metavar="DIR", help="where the data are, to count them")
    options.add_argument(
        "--max-iters", type=positive, metavar="N", help="as in train: N iterations in all"
    )
    return options


def show_rates(args: argparse.Namespace) -> None:
    """Compute, print, and write what was asked for.

    Raises:
        UsageError, DataError: bad input; nothing was written.
    """
    from mmconvnext.cli import overrides
    from mmconvnext.cli.backbone import load_with_backbone
    from mmconvnext.cli.running import tell
    from mmconvnext.cli.schedule import set_max_iters

    if args.out is not None and args.out.suffix.lower() not in PICTURES:
        raise UsageError(f"-o {args.out}: a picture is one of {', '.join(PICTURES)}")
    cfg, adapted = load_with_backbone(args)
    if args.data_root is not None:
        overrides.set_data_root(cfg, str(Path(args.data_root).expanduser()))
    if args.max_iters:
        set_max_iters(cfg, args.max_iters)
    length = length_of(cfg, args.epoch_length)
    groups = groups_of(cfg)
    rates = _over_schedule(cfg, groups, length)
    for line in adapted:
        tell(line)
    _print_table(groups, rates, length)
    if (cfg.get("auto_scale_lr") or {}).get("enable"):
        base = cfg.auto_scale_lr.get("base_batch_size")
        tell(f"auto_scale_lr is on: these are the rates of {base} pictures a batch")
    if args.csv is not None:
        logged = (cfg.get("default_hooks") or {}).get("logger") or {}
        _write_csv(args.csv, groups, rates, length, every=logged.get("interval", _LOGGED))
        tell(f"written: {args.csv}")
    if args.out is not None:
        _draw(args.out, Path(cfg.filename).stem, groups, rates, length)
        tell(f"written: {args.out}")


def length_of(cfg: Config, epoch: int | None) -> Length:
    """How long ``cfg`` trains; ``epoch`` iterations in an epoch, or as many as its data give.

    Raises:
        UsageError: it trains nothing, or the data that have to be counted are not there.
    """
    from mmconvnext.cli.schedule import is_by_epoch
    from mmconvnext.optim.schedule import Length

    loop = cfg.get("train_cfg")
    by_epoch = bool(loop) and is_by_epoch(loop)
    number = loop.get("max_epochs" if by_epoch else "max_iters") if loop else None
    if not number:
        raise UsageError(f"config {cfg.filename} has no train_cfg with a length: it trains nothing")
    if epoch is None and (by_epoch or _converts(cfg)):
        epoch = _count_batches(cfg)
    if by_epoch:
        assert epoch is not None
        return Length(number * epoch, epoch, by_epoch=True)
    return Length(number, epoch or number, by_epoch=False)


def _converts(cfg: Config) -> bool:
    return any(scheduler.get("convert_to_iter_based") for scheduler in _schedulers(cfg))


def _schedulers(cfg: Config) -> list[dict[str, Any]]:
    given = cfg.get("param_scheduler") or []
    if isinstance(given, dict):
        if "type" not in given:
            raise UsageError(f"config {cfg.filename} has schedulers for several optimizers")
        given = [given]
    return [dict(scheduler) for scheduler in given]


def _count_batches(cfg: Config) -> int:
    """Batches in an epoch of the training data, in one process."""
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner

    from mmconvnext.cli.datasets import check_loader
    from mmconvnext.data.checks import DataError

    try:
        check_loader(cfg, "train_dataloader")
    except DataError as error:
        raise UsageError(f"{error}; or give --epoch-length N, without the data") from error
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope") or "mmengine"):
        return len(Runner.build_dataloader(cfg.train_dataloader, seed=0))


def groups_of(cfg: Config) -> list[LayerRate]:
    """The parameter groups that ``cfg``'s constructor makes of its model.

    Raises:
        UsageError: the config has no model or optimizer, or the constructor refuses them.
    """
    from mmconvnext.cli.models import build_without_memory
    from mmconvnext.optim import layer_rates

    lacking = [part for part in ("model", "optim_wrapper") if cfg.get(part) is None]
    if lacking:
        raise UsageError(f"config {cfg.filename} has no {', '.join(lacking)}: nothing has a rate")
    scope = cfg.get("default_scope") or "mmengine"
    try:
        return layer_rates(build_without_memory(cfg), cfg.optim_wrapper, scope=scope)
    except ValueError as error:
        raise UsageError(f"config {cfg.filename}: {error}") from error


def _over_schedule(cfg: Config, groups: Sequence[LayerRate], length: Length) -> np.ndarray:
    from mmconvnext.optim.schedule import rates_over_schedule

    scope = cfg.get("default_scope") or "mmengine"
    different = sorted({group.rate for group in groups})
    try:
        found = rates_over_schedule(different, _schedulers(cfg), length, scope=scope)
    except ValueError as error:
        raise UsageError(f"config {cfg.filename}: {error}") from error
    return found[:, [different.index(group.rate) for group in groups]]


def _print_table(groups: Sequence[LayerRate], rates: np.ndarray, length: Length) -> None:
    from rich.table import Table

    from mmconvnext.cli.data_report import console_for, print_line

    console = console_for(stderr=False)
    shown = moments(rates)
    table = Table("layer", "parameters of", "decay", "scale", *(name for name, _ in shown))
    for column in table.columns[2:]:
        column.justify, column.no_wrap = "right", True
    for number, group in enumerate(groups):
        layer = "-" if group.layer is None else str(group.layer)
        values = [f"{rates[iteration, number]:.3e}" for _, iteration in shown]
        table.add_row(
            layer, ", ".join(parts_of(group.names)), f"{group.weight_decay:g}",
            f"{group.scale:.4g}", *values,
        )  # fmt: skip
    console.print(table)
    epochs = f", {length.iterations // length.epoch} epochs of {length.epoch:,}"
    where = "; ".join(f"{name}: iteration {iteration + 1:,}" for name, iteration in shown)
    print_line(
        f"{length.iterations:,} iterations{epochs if length.by_epoch else ''}; {where}", console
    )


def moments(rates: np.ndarray) -> list[tuple[str, int]]:
    """The iterations to show: first, highest (the first such), middle of the training, last."""
    last = len(rates) - 1
    highest = int(rates.sum(axis=1).argmax())
    return [("first", 0), ("highest", highest), ("middle", last // 2), ("last", last)]


def parts_of(names: Sequence[str]) -> list[str]:
    """What parameters belong to, shortly: ``backbone.stages.2 blocks 0-2``, ``neck``."""
    numbered: dict[str, set[int]] = {}
    for name in names:
        if found := re.match(r"(.*\bstages\.\d+)\.(\d+)\.", name):
            part, number = f"{found.group(1)} blocks ", int(found.group(2))
        elif found := re.match(r"(.*\bbackbone\.(?:downsample_layers\.|\D+))(\d+)\.", name):
            part, number = found.group(1), int(found.group(2))
        else:
            part, number = name.partition(".")[0], -1
        numbered.setdefault(part, set()).add(number)
    return [f"{part}{_span(numbers)}" for part, numbers in numbered.items()]


def _span(numbers: set[int]) -> str:
    first, last = min(numbers), max(numbers)
    if last < 0:
        return ""
    return f"{first}-{last}" if last > first else f"{first}"


def label_of(group: LayerRate) -> str:
    """The group's name on an axis and in a file."""
    return group.group or f"x {group.scale:.4g}, decay {group.weight_decay:g}"


def _draw(
    out: Path, title: str, groups: Sequence[LayerRate], rates: np.ndarray, length: Length
) -> None:
    from mmconvnext.cli.files import finished_file
    from mmconvnext.visualization.rates import plot_rates

    # Weight decay apart, a layer is one curve.
    columns = {(group.layer, group.rate): number for number, group in enumerate(groups)}
    labels = [
        f"layer {layer}" if layer is not None else f"x {groups[number].scale:.4g}"
        for (layer, _), number in columns.items()
    ]
    with finished_file(out) as file:
        plot_rates(
            rates[:, list(columns.values())],
            labels,
            file,
            epoch=length.epoch if length.by_epoch else None,
            title=title,
        )


def _write_csv(
    out: Path, groups: Sequence[LayerRate], rates: np.ndarray, length: Length, *, every: int
) -> None:
    """Write the rates of each ``every``-th iteration, counted in each epoch as the log does."""
    from mmconvnext.cli.files import finished_file

    with finished_file(out) as file, file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["epoch", "iteration", *map(label_of, groups)])
        for iteration, row in enumerate(rates.tolist()):
            epoch, done = divmod(iteration, length.epoch)
            if (done + 1) % every == 0 or iteration + 1 == length.iterations:
                writer.writerow([epoch + 1, iteration + 1, *map(repr, row)])
