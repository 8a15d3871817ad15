"""Checks of mmconvnext itself, and of OpenMMLab's packages or their forks around it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import util
from pathlib import Path

from mmconvnext.doctor.distributions import (
    carriers,
    fits,
    import_problem,
    install,
    limits,
    pinned,
    tried,
    version,
)
from mmconvnext.doctor.finding import GREEN, RED, YELLOW, Finding

FINDER = "_mmconvnext_ops_finder"
REINSTALL = "--force-reinstall --no-deps"
_UNDECLARED = {"mmseg": ("ftfy", "regex")}  # imported, and in nobody's requirements


def mmengine() -> Finding:
    """mmengine, and pkg_resources, which OpenMMLab's imports."""
    return judge_mmengine(
        carriers("mmengine"),
        import_problem("mmengine")[0],
        has_pkg_resources=util.find_spec("pkg_resources") is not None,
    )


def judge_mmengine(
    installed: Mapping[str, str], problem: str, *, has_pkg_resources: bool
) -> Finding:
    """Missing, twice, broken, or without what it imports."""
    single = _judge_carriers("mmengine", installed, problem)
    if single is not None:
        return single
    found = _names(installed)
    if "onedl-mmengine" not in installed and not has_pkg_resources:
        line = f"{found}: it imports pkg_resources, which setuptools 82 dropped"
        return Finding(YELLOW, line, install("setuptools<80.9"))
    return Finding(GREEN, found)


def mmdet() -> Finding:
    """mmdet beside the mmcv and mmengine that are here."""
    return _host("mmdet", "detection")


def mmseg() -> Finding:
    """mmseg beside the mmcv and mmengine that are here."""
    return _host("mmseg", "segmentation")


def _host(package: str, task: str) -> Finding:
    installed = carriers(package)
    needs = {of: limits(package, of) for of in ("mmcv", "mmengine")}
    numbers = {of: next(iter(carriers(of).values()), None) for of in needs}
    problem, absent = import_problem(package) if installed else ("", "")
    if installed and not problem:  # the operators are first asked for by its models
        problem, absent = import_problem(f"{package}.models")
    return judge_host(package, task, installed, needs, numbers, problem, absent)


def judge_host(
    package: str,
    task: str,
    installed: Mapping[str, str],
    needs: Mapping[str, str],
    numbers: Mapping[str, str | None],
    problem: str = "",
    absent: str = "",
) -> Finding:
    """Whether a host package is there, imports, and fits what it stands on.

    Args:
        package: its import name.
        task: what it is for.
        installed: distribution -> version of what carries it.
        needs: import name -> limits, of its metadata.
        numbers: import name -> version here.
        problem: what importing it said; ``absent`` is the module that it lacks.
    """
    if not installed:
        mend = install(pinned(package), *_UNDECLARED.get(package, ()))
        return Finding(YELLOW, f"not installed: no {task}", mend)
    for of, within in needs.items():
        number = numbers.get(of)
        if number is not None and within and not fits(number, within):
            line = f"{_names(installed)} takes {of}{within}, found {number}"
            return Finding(RED, line, install(pinned(of)))
    if problem:
        wanted = _UNDECLARED.get(package, ())
        lacking = wanted if absent in wanted else (absent.partition(".")[0],)
        mend = install(*lacking) if absent else install(pinned(package), options=REINSTALL)
        return Finding(RED, f"{_names(installed)}: {problem}", mend)
    single = _judge_carriers(package, installed, "")
    fitting = ", ".join(f"{of} {numbers[of]}" for of, within in needs.items() if within)
    return single or Finding(GREEN, f"{_names(installed)}{f', fits {fitting}' if fitting else ''}")


def mmpretrain() -> Finding:
    """mmpretrain, which nothing here needs, but which must not be broken where it is."""
    installed = carriers("mmpretrain")
    return judge_mmpretrain(installed, import_problem("mmpretrain.models")[0] if installed else "")


def judge_mmpretrain(installed: Mapping[str, str], problem: str) -> Finding:
    """Whether configs that name mmpretrain's ConvNeXt can be built."""
    if not installed:
        return Finding(GREEN, "not installed, not needed: mmconvnext.ConvNeXt stands in")
    if problem:
        line = f"{_names(installed)}: {problem}; without it, mmconvnext.ConvNeXt stands in"
        return Finding(RED, line, f"pip uninstall -y {' '.join(installed)}")
    return Finding(GREEN, f"{_names(installed)}: its own ConvNeXt is used where a config names it")


def mmconvnext() -> Finding:
    """This package: whether it imports, from where, and what it does when Python starts."""
    at_start = FINDER in sys.modules
    problem, absent = execute_package()
    from mmconvnext.version import __version__

    folder = str(Path(__file__).parents[1])
    return judge_mmconvnext(
        __version__,
        version("mmconvnext"),
        folder,
        at_start=at_start or os.environ.get("MMCONVNEXT_OPS") == "0",
        problem=problem,
        absent=absent,
    )


def execute_package() -> tuple[str, str]:
    """Do what ``import mmconvnext`` does, which the doctor's process has left undone so far.

    Returns:
        What went wrong and the module that is missing; both empty if nothing.
    """
    package = sys.modules["mmconvnext"]
    if hasattr(package, "ConvNeXt"):
        return "", ""
    loader = package.__spec__.loader if package.__spec__ else None
    assert loader is not None
    return tried(lambda: loader.exec_module(package))


def reinstall_this(folder: str = str(Path(__file__).parents[1])) -> str:
    """The command that installs mmconvnext again, from the checkout that it lies in if it does."""
    if "site-packages" in folder:
        return f"pip install {REINSTALL} CHECKOUT"
    return f"pip install --no-deps --editable {Path(folder).parent}"


def judge_mmconvnext(
    number: str,
    installed: str | None,
    folder: str,
    *,
    at_start: bool,
    problem: str = "",
    absent: str = "",
) -> Finding:
    """Whether it imports, its metadata are its own, and its finder of operators is in place.

    Args:
        number: version of what is imported; ``installed`` is that of the metadata.
        folder: where it lies.
        at_start: whether Python began with the finder.
        problem: what importing said; ``absent`` is the module that it lacks.
    """
    found = number if "site-packages" in folder else f"{number}, from {folder}"
    again = reinstall_this(folder)
    if problem:
        mend = install(pinned(absent.partition(".")[0])) if absent else again
        return Finding(RED, f"{found}: {problem}", mend)
    if installed != number:
        return Finding(YELLOW, f"{found}; installed is {installed or 'none'}", again)
    if not at_start:
        line = f"{found}; mmcv's operators are found only after `import mmconvnext`"
        return Finding(YELLOW, line, again)
    return Finding(GREEN, found)


def mmcv() -> Finding:
    """mmcv, and whose compiled operators it uses."""
    installed = carriers("mmcv")
    problem, _ = import_problem("mmcv")
    if problem or not installed:
        return judge_mmcv(installed, problem)
    problem, _ = import_problem("mmcv._ext")
    extension = sys.modules.get("mmcv._ext")
    own = getattr(extension, "__loader__", None).__class__.__module__ == FINDER
    count = 0
    if own and not problem:
        from mmconvnext.compat.mmcv_ops import operators

        count = len(operators())
    return judge_mmcv(
        installed,
        extension_problem=problem,
        provided=count,
        compiled_here=_has_compiled_file(),
        switched_off=os.environ.get("MMCONVNEXT_OPS") == "0",
    )


def _has_compiled_file() -> bool:
    spec = util.find_spec("mmcv")
    folders = spec.submodule_search_locations if spec else None
    return any(list(Path(folder).glob("_ext.*")) for folder in folders or ())


def judge_mmcv(
    installed: Mapping[str, str],
    problem: str = "",
    *,
    extension_problem: str = "",
    provided: int = 0,
    compiled_here: bool = False,
    switched_off: bool = False,
) -> Finding:
    """Missing, twice, broken, or without operators.

    Args:
        installed: distribution -> version of what carries it.
        problem: what ``import mmcv`` said.
        extension_problem: what ``import mmcv._ext`` said.
        provided: how many operators mmconvnext provides; 0 where they are mmcv's own.
        compiled_here: whether mmcv brought a compiled file.
        switched_off: whether the environment says ``MMCONVNEXT_OPS=0``.
    """
    single = _judge_carriers("mmcv", installed, problem)
    if single is not None:
        return single
    found = _names(installed)
    if extension_problem and compiled_here:
        # Built for another PyTorch or CUDA.
        mend = f"pip uninstall -y {' '.join(installed)} && {install(pinned('mmcv'))}"
        return Finding(RED, f"{found}, its compiled operators: {extension_problem}", mend)
    if extension_problem:
        mend = "unset MMCONVNEXT_OPS" if switched_off else reinstall_this()
        return Finding(RED, f"{found}, no operators: {extension_problem}", mend)
    whose = f"{provided} operators of mmconvnext" if provided else "its own compiled operators"
    return Finding(GREEN, f"{found}, {whose}")


def _judge_carriers(package: str, installed: Mapping[str, str], problem: str) -> Finding | None:
    """The finding where a package is missing, carried by several distributions, or broken."""
    if not installed:
        return Finding(RED, "not installed", install(pinned(package)))
    found = _names(installed)
    if len(installed) > 1:
        mend = f"pip uninstall -y {' '.join(installed)} && {install(pinned(package))}"
        return Finding(RED, f"{found}: all write the folder {package}", mend)
    if problem:
        return Finding(RED, f"{found}: {problem}", install(pinned(package), options=REINSTALL))
    return None


def _names(installed: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in installed.items())
