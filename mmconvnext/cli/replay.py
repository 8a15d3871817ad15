"""``replay``: a batch whose loss or gradients were not finite, run once more and looked at."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from mmconvnext.cli.errors import DONE, FAILED, OneLineParser, report_errors
from mmconvnext.cli.options import add_config_options, add_device_option

if TYPE_CHECKING:
    from mmconvnext.hooks.tracing import Seen, Trace


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0 it happened again, 1 it did not, 2 bad input, 130 interrupted.
    """
    argv = sys.argv[1:] if argv is None else argv
    status = DONE

    def run() -> None:
        nonlocal status
        status = replay(parser().parse_args(argv))

    return report_errors("mmconvnext replay", run, debug="--debug" in argv) or status


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext replay",
        description="Run a training step once more whose loss or gradients were not finite: with "
        "the weights, the batch and the random numbers that training kept. Lists the modules up to "
        "the first that has something not finite. The status is 1 if there is none.",
    )
    add_config_options(options)
    options.add_argument(
        "file", metavar="FILE", help="nonfinite_iter_N.pth in the work directory of the training"
    )
    add_device_option(options)
    return options


def replay(args: argparse.Namespace) -> int:
    """Run the step and print what was seen.

    Returns:
        0 if something was not finite again, else 1.

    Raises:
        UsageError, CheckpointError: no such config or file, or the two do not belong together.
    """
    from mmconvnext.cli import device
    from mmconvnext.cli.configs import load_config
    from mmconvnext.cli.running import tell
    from mmconvnext.hooks.replay_file import read_replay
    from mmconvnext.hooks.replaying import replay_step

    place = device.pick_device(args.device, "none")
    kept = read_replay(args.file)
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = "none"
    tell(device.fit_to_device(cfg, place))
    with device.running_on(place, cfg):
        trace = replay_step(cfg, kept, place)
    tell(f"the log said: {kept.found}")
    _print(trace)
    if trace.first is None and trace.error is None:
        tell(f"iteration {kept.iteration}: all is finite, it did not happen again")
        return FAILED
    tell(f"iteration {kept.iteration}: it happened again: {_said(trace)}")
    return DONE


def _said(trace: Trace) -> str:
    parts = [f"{name} = {value}" for name, value in trace.bad_losses.items()]
    if trace.first is not None:
        parts.append(str(trace.first))
    if trace.error is not None:
        parts.append(f"{type(trace.error).__name__}: {trace.error}")
    return "; ".join(parts)


def _print(trace: Trace) -> None:
    from rich.table import Table

    from mmconvnext.cli.data_report import console_for

    table = Table("module", "class", "of", "least", "greatest", "finite")
    for column in table.columns[3:]:
        column.justify, column.no_wrap = "right", True
    for seen in _up_to_first(trace):
        table.add_row(
            seen.place or "the model", seen.kind, seen.what, f"{seen.low:.4g}", f"{seen.high:.4g}",
            f"{100 * seen.finite:.4g} %",
        )  # fmt: skip
    console_for(stderr=False).print(table)


def _up_to_first(trace: Trace) -> list[Seen]:
    """Outputs, or where they are finite gradients, up to the first that has something not
    finite."""
    rows = trace.forward
    if trace.backward and all(seen.finite == 1 for seen in rows):
        rows = trace.backward
    last = next((n for n, seen in enumerate(rows) if seen.finite < 1), len(rows) - 1)
    return rows[: last + 1]
