"""Trains in a child that is killed again and again, by SIGKILL, and goes on each time.

A process of its own for tests/cli/test_killed.py: it imports everything once, and forks each child
before any thread runs.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.fileio.backends import LocalBackend
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

import mmconvnext.hooks
import mmconvnext.loops  # noqa: F401
from mmconvnext.cli.main import main

MOMENTS = ("iteration", "loading", "writing", "renaming", "validation", "time")


class Killer(Hook):
    """Kills its own process at a moment of one kind, the ``count``-th that comes."""

    priority = "VERY_HIGH"
    moment = ""
    count = 0

    @classmethod
    def reached(cls, moment: str) -> None:
        if moment == cls.moment:
            cls.count -= 1
            if cls.count < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def before_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        self.reached("loading")

    def after_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        self.reached("iteration")

    def after_val_iter(self, runner: Any, *_: Any, **__: Any) -> None:
        self.reached("validation")


def kill_in_the_middle_of_writing() -> None:
    """Half of a checkpoint's bytes are in its file when the process is killed; or all of them, and
    the file has no name yet."""
    put, rename = LocalBackend.put, Path.replace

    def half(self: LocalBackend, content: Any, path: Any) -> None:
        if Killer.moment == "writing" and Killer.count == 0:
            put(self, bytes(content)[: len(content) // 2], path)
        Killer.reached("writing")
        put(self, content, path)

    def unnamed(self: Path, target: Any) -> Path:
        if str(target).endswith(".pth"):
            Killer.reached("renaming")
        return rename(self, target)

    LocalBackend.put = half  # type: ignore[method-assign]
    Path.replace = unnamed  # type: ignore[method-assign,assignment]


def life(command: list[str], moment: str, count: int) -> int:
    """One child; returns its wait status."""
    child = os.fork()
    if child == 0:
        Killer.moment, Killer.count = moment, count
        os._exit(main(command))
    if moment == "time":
        time.sleep(count / 10)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def killed(status: int) -> bool:
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def live(command: list[str], kills: int, choose: Callable[[int], tuple[str, int]]) -> list[str]:
    """Begin, be killed ``kills`` times, end; returns the moments."""
    moments: list[str] = []
    attempts = 0
    while len(moments) < kills:
        attempts += 1
        assert attempts < 3 * kills, f"only {moments} came"
        moment, count = choose(len(moments))
        status = life([*command, "--resume"], moment, count)
        if killed(status):
            moments.append(moment)
        elif status == 0:
            raise SystemExit(f"the run ended after {moments}: too short for {kills} kills")
        else:
            raise SystemExit(f"{moment} {count}: status {status}")
    assert life([*command, "--resume"], "", 0) == 0
    return moments


if __name__ == "__main__":
    kills, seed, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    HOOKS.register_module(module=Killer)
    kill_in_the_middle_of_writing()
    draw = random.Random(seed)

    def choose(number: int) -> tuple[str, int]:
        moment = MOMENTS[number % len(MOMENTS)]
        return moment, draw.randint(10, 40) if moment == "time" else draw.randint(0, 1)

    print("moments:", json.dumps(live(command, kills, choose)))
