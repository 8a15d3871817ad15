"""``predict-many``: what a trained model finds in very many pictures, as Parquet files."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmconvnext.cli.errors import DONE, FAILED, OneLineParser, UsageError, report_errors
from mmconvnext.cli.many_engines import Engine, add_engine_options, pick_engine
from mmconvnext.cli.options import add_config_options, positive
from mmconvnext.cli.predicting import (
    add_predicting_options,
    build_predictor,
    predicting_settings,
    predictor_options,
    without_config_warnings,
)

if TYPE_CHECKING:
    from mmengine.config import Config

    from mmconvnext.inference.predictor import Predictor

_PROG = "mmconvnext predict-many"
_NAMED = 20  # unreadable pictures in the last lines; all are in the tables of errors


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0 done, 1 failed or pictures unreadable, 2 bad input, 130 interrupted.
    """
    argv = sys.argv[1:] if argv is None else argv
    status = DONE

    def run() -> None:
        nonlocal status
        args = parser().parse_args(argv)
        with without_config_warnings():
            status = predict_many(args)

    return report_errors(_PROG, run, debug="--debug" in argv) or status


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog=_PROG,
        description="Find objects or classes in very many pictures, with several processes or "
        "machines; the same command goes on where it was ended.",
    )
    add_config_options(options)
    options.add_argument("checkpoint", metavar="CHECKPOINT", help="the trained weights")
    options.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder of pictures, Parquet files or tars; such files or a pattern of them "
        "('a/{000..063}.tar'); or a list of pictures (.txt)",
    )
    options.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="where results go: a new folder, or that of a run to go on with",
    )
    options.add_argument(
        "--overwrite", action="store_true", help="remove the earlier run's results in DIR first"
    )
    options.add_argument(
        "--shard-size",
        type=positive,
        default=1000,
        metavar="N",
        help="pictures in a file of results, which is what a worker that dies loses (default: "
        "%(default)s)",
    )
    options.add_argument(
        "--column", metavar="COLUMN", help="of Parquet files: where the pictures are"
    )
    add_engine_options(options)
    add_predicting_options(options)
    return options


def predict_many(args: argparse.Namespace) -> int:
    """Check the input, predict what is not finished, and print what came of all; returns the exit
    status.

    Raises:
        UsageError, DataError, CheckpointError: bad input; nothing was written.
        WorkersDiedError: workers die again and again.
    """
    from PIL import Image

    from mmconvnext.inference.many.worker import Job

    # Links stay, as in the source's path, with which it is compared.
    out = Path(os.path.abspath(args.out.expanduser()))  # noqa: PTH100
    file = Path(args.checkpoint).expanduser()
    # Workers may be in other folders; what is no file is a name or an address.
    checkpoint = os.path.abspath(file) if file.is_file() else args.checkpoint  # noqa: PTH100
    Image.MAX_IMAGE_PIXELS = None  # large pictures are no attack when they are one's own
    with pick_engine(args) as engine:
        job = Job(out, checkpoint, predictor_options(args), args.batch_size, engine.threads)
        predictor = None
        if engine.leads:
            predictor = _begin(args, out, engine)
        engine.run(job, predictor)
        return _report(out, engine) if engine.leads else DONE


def _begin(args: argparse.Namespace, out: Path, engine: Engine) -> Predictor | None:
    """Write the plan, or see that the one that is there is the same; returns the network if it was
    built for that."""
    from mmconvnext.cli.configs import config_digest, merge_options, read_config
    from mmconvnext.cli.running import tell
    from mmconvnext.inference.journal import JournalError, check_same
    from mmconvnext.inference.many.output import has_plan
    from mmconvnext.inference.many.plan import read_plan
    from mmconvnext.inference.many.sources import find_source

    _check_folder(out, args)
    cfg, changes = read_config(args.config)
    merge_options(cfg, args.cfg_options)
    source = find_source(args.source, without=out)
    settings = {
        **predicting_settings(args, config_digest(cfg)),
        "shard size": args.shard_size,
        "column": args.column,
        "source": source.fingerprint(),
    }
    for line in changes:
        tell(line)
    if args.overwrite or not has_plan(out):
        return _begin_anew(args, out, engine, cfg, source, settings)
    try:
        check_same(out, read_plan(out).settings, settings)
    except JournalError as error:
        raise UsageError(f"--out {error}; name a new folder, or use --overwrite") from error
    return None


def _begin_anew(
    args: argparse.Namespace,
    out: Path,
    engine: Engine,
    cfg: Config,
    source: Any,
    settings: dict[str, Any],
) -> Predictor | None:
    from mmconvnext.cli.running import tell
    from mmconvnext.inference.many.output import clear
    from mmconvnext.inference.many.plan import begin, divide
    from mmconvnext.inference.many.worker import facts_of

    division = divide(source, args.shard_size, args.column)
    predictor = build_predictor(args, cfg, engine.leaders_device)
    facts, legend = facts_of(predictor), predictor.legend
    tell(f"{len(legend.classes)} classes, as {legend.source} names them")
    if args.overwrite:
        clear(out)
    begin(out, division, facts, settings, cfg.pretty_text)
    if engine.leader_works:
        return predictor
    del predictor  # the workers need the memory
    gc.collect()
    return None


def _check_folder(out: Path, args: argparse.Namespace) -> None:
    from mmconvnext.inference.many.output import has_plan, is_free

    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {args.out}: is a file, a folder is needed")
    if not has_plan(out) and not is_free(out):
        raise UsageError(f"--out {args.out}: has files of something else, name a new folder")


def _report(out: Path, engine: Engine) -> int:
    """Write and print the summary; returns the exit status."""
    from mmconvnext.cli.running import tell
    from mmconvnext.inference.many.output import ERRORS, summarize, unreadable

    run = engine.this_run()
    summary = summarize(out, run)
    stages = ", ".join(f"{k} {v:.3g}" for k, v in summary["milliseconds_per_picture"].items())
    if run["pictures"]:
        tell(
            f"{run['pictures']:,} pictures in {run['seconds']:.0f} s: "
            f"{run['pictures_per_second']:.3g} per second, by {run['workers']} x {run['threads']} "
            f"threads; workers restarted: {run['restarts']}"
        )
    tell(f"milliseconds a picture, by stage, of each worker: {stages}")
    tell(f"{summary['pictures']:,} pictures done, of them {summary['errors']:,} unreadable: {out}")
    if not summary["errors"]:
        return DONE
    for name, reason in unreadable(out, _NAMED):
        print(f"{_PROG}: skipped {name!r}: {reason}", file=sys.stderr)
    print(f"{_PROG}: {summary['errors']:,} skipped, all named in {out / ERRORS}", file=sys.stderr)
    return engine.status(FAILED)


if __name__ == "__main__":
    sys.exit(main())
