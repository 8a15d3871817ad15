"""The trainings of ``road``: a folder each, with a config of its own, finished once and for all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmconvnext.cli.errors import DONE, INTERRUPTED, UsageError
from mmconvnext.cli.files import finished_file

if TYPE_CHECKING:
    from mmengine.config import Config

LOG, FIGURES = "train.log", "figures.json"


@dataclass(frozen=True)
class Run:
    """One training: of a stop, with a seed, in a folder."""

    step: str
    seed: int
    folder: Path

    @property
    def config(self) -> Path:
        """What it is trained with: beside the folder, where training writes one as it ran."""
        return self.folder.with_suffix(".py")

    @property
    def finished(self) -> bool:
        """Whether its figures are there."""
        return (self.folder / FIGURES).is_file()

    @property
    def figures(self) -> dict[str, float]:
        """Of its last validation."""
        found: dict[str, float] = json.loads((self.folder / FIGURES).read_text(encoding="utf-8"))
        return found

    def __str__(self) -> str:
        """What a user calls it."""
        return f"{self.step} (seed {self.seed})"


@dataclass(frozen=True)
class Results:
    """The figures of all trainings, by stop, a seed after the other."""

    metric: str
    by_step: dict[str, list[float]]


def plan(
    cfg: Config, steps: Sequence[str], seeds: Sequence[int], work_dir: Path, *, weights: str | None
) -> list[Run]:
    """The trainings, their configs written into their folders.

    Raises:
        AdaptError: the config has no RoadNet, or heads that do not fit it.
        UsageError: a folder has a training of other settings.
    """
    from mmconvnext.adapt.road import with_road_step

    planned = []
    for step in steps:
        start = weights.replace("{step}", step) if weights else None
        adapted = with_road_step(cfg, step, weights=start)
        for seed in dict.fromkeys(seeds):
            run = Run(step, seed, work_dir / step / f"seed_{seed}")
            adapted.randomness = {**(cfg.get("randomness") or {}), "seed": seed}
            adapted.work_dir = str(run.folder)
            planned.append((run, adapted.pretty_text))
    for run, text in planned:
        if run.config.is_file() and run.config.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"{run.config}: expected the settings of this call, found others, and a road's "
                "stops share theirs; take another --work-dir, or remove that file and its folder"
            )
    for run, text in planned:
        with finished_file(run.config) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    return [run for run, _ in planned]


def train(run: Run, *, gpus: int, jobs: int, running: set[subprocess.Popen]) -> None:
    """Train in a process of its own, going on where an earlier one stopped.

    Args:
        run: which.
        gpus: processes of the training.
        jobs: trainings at a time, which share the cores.
        running: has the process as long as it runs, for whoever wants to end it.

    Raises:
        RuntimeError: it failed, or there was nothing to validate.
        KeyboardInterrupt: it was interrupted.
    """
    command = [sys.executable, "-W", "ignore"]
    if gpus > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}"]
    command += ["-m", "mmconvnext", "train", str(run.config), "--resume", "--plain"]
    if gpus > 1:
        command += ["--launcher", "pytorch"]
    threads = max(1, (os.cpu_count() or 1) // (jobs * gpus))
    environment = {"OMP_NUM_THREADS": str(threads)} | os.environ
    run.folder.mkdir(parents=True, exist_ok=True)
    log = run.folder / LOG
    with log.open("a", encoding="utf-8") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
        running.add(process)
        status = process.wait()
        running.discard(process)
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if status != DONE:
        last = (log.read_text(encoding="utf-8", errors="replace").splitlines() or [""])[-1]
        raise RuntimeError(f"{run}: training ended with status {status}: {last} (all of it: {log})")
    figures = _last_validation(run)
    with finished_file(run.folder / FIGURES) as file:
        file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def results(runs: Sequence[Run], metric: str | None) -> Results:
    """The figures called ``metric``; None: the one by which the first training's checkpoint was
    chosen, or the usual one of the task.

    Raises:
        UsageError: there is none of that name.
    """
    from mmconvnext.visualization.report.runs import read_run

    name = metric or read_run(runs[0].folder, str(runs[0])).main_metric or ""
    by_step: dict[str, list[float]] = {}
    for run in runs:
        if name not in run.figures:
            raise UsageError(
                f"--metric {name}: {run} was not measured by it, but by {', '.join(run.figures)}"
            )
        by_step.setdefault(run.step, []).append(run.figures[name])
    return Results(name, by_step)


def _last_validation(run: Run) -> dict[str, float]:
    from mmconvnext.visualization.report.runs import read_run

    figures = {name: curve[-1][1] for name, curve in read_run(run.folder, str(run)).metrics.items()}
    if not figures:
        raise RuntimeError(f"{run}: expected a validation's figures in {run.folder}, found none")
    return figures
