"""Runs the checks, each so that it can fail, crash or hang without harm to the others."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import IO

from mmconvnext.doctor.distributions import install, pinned
from mmconvnext.doctor.finding import RED, Finding, described
from mmconvnext.doctor.openmmlab import REINSTALL, reinstall_this

SECONDS = 90.0  # for one check: importing PyTorch from a slow disk takes long
# Name -> (module, function): the order in which they run and are shown. Later ones stand on what
# earlier ones have imported.
CHECKS = {
    "Python": ("packages", "python"),
    "PyTorch": ("packages", "torch"),
    "GPU": ("machine", "gpu"),
    "arrays": ("packages", "arrays"),
    "mmengine": ("openmmlab", "mmengine"),
    "mmconvnext": ("openmmlab", "mmconvnext"),
    "mmcv": ("openmmlab", "mmcv"),
    "mmdet": ("openmmlab", "mmdet"),
    "mmseg": ("openmmlab", "mmseg"),
    "evaluation": ("packages", "evaluation"),
    "compiler": ("machine", "compiler"),
    "processors": ("machine", "processors"),
    "shared memory": ("machine", "shared_memory"),
    "disk": ("machine", "disk"),
    "text": ("machine", "text"),
    "environment": ("packages", "variables"),
    "test: network": ("self_test", "network"),
    "test: operators": ("self_test", "operators"),
    "test: checkpoint": ("self_test", "checkpoints"),
    "test: registries": ("self_test", "registries"),
    "mmpretrain": ("openmmlab", "mmpretrain"),  # last: a broken one may leave anything behind
}
# What is installed again where a check dies in a way that it does not know: import names. Without
# an entry it is this package itself that failed.
_STANDS_ON = {
    "PyTorch": ("torch", "torchvision"),
    "GPU": ("torch",),
    "arrays": ("numpy", "cv2"),
    "mmengine": ("mmengine",),
    "mmcv": ("mmcv",),
    "mmdet": ("mmdet",),
    "mmseg": ("mmseg",),
    "evaluation": ("pycocotools", "faster-coco-eval"),
    "test: network": ("torch",),
    "test: operators": ("torchvision", "mmcv"),
    "test: checkpoint": ("torch",),
    "mmpretrain": ("mmpretrain",),
}
# A fresh interpreter, whose mmconvnext is not executed before its check asks for it. The current
# folder, which -c puts first, is not where commands look for packages.
_CHILD = (
    "import sys; sys.path.pop(0); import _mmconvnext_command as command; "
    "command.leave_package_unexecuted(); "
    "from mmconvnext.doctor.running import answer; answer(sys.argv[1:])"
)


def examine(names: Sequence[str] = tuple(CHECKS)) -> Iterator[tuple[str, Finding]]:
    """Run the checks called ``names`` in another process.

    A check that ends that process or takes too long is red, and the rest go on in a new one.

    Yields:
        (name, finding) as they come, in the order of ``names``.
    """
    left = list(names)
    while left:
        child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _CHILD, *left],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        try:
            for name, finding in _answers(child, tuple(left)):
                left.remove(name)
                yield name, finding
        finally:
            child.kill()
            child.communicate()


def _answers(child: subprocess.Popen[str], names: Sequence[str]) -> Iterator[tuple[str, Finding]]:
    """What ``child`` says about ``names``, up to and with the first that it does not survive."""
    lines: SimpleQueue[str] = SimpleQueue()
    assert child.stdout is not None and child.stderr is not None
    threading.Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
    said: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=(child.stderr, said), daemon=True).start()
    for name in names:
        try:
            line = lines.get(timeout=SECONDS)
        except Empty:
            yield name, Finding(RED, f"took more than {SECONDS:g} s", _reinstall(name))
            return
        if not line:
            status = child.wait()
            line = f"the process ended (exit status {status}) {_last(said)}"
            yield name, Finding(RED, line, _reinstall(name))
            return
        yield name, Finding(**json.loads(line))


def _reinstall(name: str) -> str:
    """What mends a check that found no words for what is wrong."""
    packages = _STANDS_ON.get(name)
    if packages is None:
        return reinstall_this()
    return install(*map(pinned, packages), options=REINSTALL)


def _read(pipe: IO[str], lines: SimpleQueue[str]) -> None:
    """Hand over the pipe's lines, then an empty one."""
    for line in pipe:
        lines.put(line)
    lines.put("")


def _last(said: SimpleQueue[str]) -> str:
    """The last line that a dead process wrote."""
    line = ""
    while following := said.get():
        line = following.strip() or line
    return line


def answer(names: Sequence[str]) -> None:
    """In the child: run the checks, and write each finding as a line of JSON on standard output.

    What imports print goes nowhere; what is written as the process dies goes to standard error.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    for name in names:
        out.write(json.dumps(dataclasses.asdict(run(name))) + "\n")
        out.flush()


def run(name: str) -> Finding:
    """One check; whatever it raises is a red finding."""
    module, function = CHECKS[name]
    try:
        check: Callable[[], Finding] = getattr(
            import_module(f"mmconvnext.doctor.{module}"), function
        )
        return check()
    except Exception as error:
        lacking = error.name if isinstance(error, ModuleNotFoundError) else None
        mend = install(pinned(lacking.partition(".")[0])) if lacking else _reinstall(name)
        return Finding(RED, described(error), mend)
