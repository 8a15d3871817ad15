"""Checks of what is installed: Python, PyTorch and what stands on it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping

from mmconvnext.doctor.distributions import carriers, import_problem, install, version
from mmconvnext.doctor.finding import GREEN, RED, YELLOW, Finding, described

OLDEST_PYTHON = (3, 10)
OLDEST_TORCH = (2, 1)
_VISION_AHEAD = 15  # torchvision 0.15 belongs to torch 2.0, 0.16 to 2.1, …


def python() -> Finding:
    """The interpreter and the system."""
    return judge_python(sys.version_info[:3], f"{platform.system()} {platform.machine()}")


def judge_python(number: tuple[int, ...], system: str) -> Finding:
    """Old enough to be refused, or fine."""
    found = f"{'.'.join(map(str, number))}, {system}"
    if number[:2] < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        mend = f"python{wanted} -m venv ENV, and install there"
        return Finding(RED, f"{found}; {wanted} or newer is needed", mend)
    return Finding(GREEN, found)


def torch() -> Finding:
    """PyTorch and torchvision: there, importable, made for each other."""
    numbers = {name: version(name) for name in ("torch", "torchvision")}
    problem = import_problem("torch")[0] or import_problem("torchvision")[0]
    if problem:
        return judge_torch(numbers["torch"], numbers["torchvision"], problem=problem)
    import torch
    import torchvision

    try:
        has_cuda = torchvision.version.cuda is not None
    except AttributeError:  # built from source, say
        has_cuda = torch.version.cuda is not None
    return judge_torch(
        torch.__version__, torchvision.__version__, cuda=torch.version.cuda, vision_cuda=has_cuda
    )


def judge_torch(
    torch: str | None,
    vision: str | None,
    *,
    cuda: str | None = None,
    vision_cuda: bool = False,
    problem: str = "",
) -> Finding:
    """Whether both are there, import, and are a pair."""
    if torch is None or vision is None:
        absent = " and ".join(n for n, v in (("torch", torch), ("torchvision", vision)) if not v)
        return Finding(RED, f"{absent}: not installed", install("torch", "torchvision"))
    found = f"torch {torch}, torchvision {vision}"
    number = tuple(int(part) for part in torch.split("+")[0].split(".")[:2])
    # The same index brings the same build: +cpu, +cu126.
    _, plus, build = torch.partition("+")
    index = f" --index-url https://download.pytorch.org/whl/{build}" if plus else ""
    partner = f"torchvision==0.{number[1] + _VISION_AHEAD}.*"
    mend = install(partner, options="--force-reinstall --no-deps") + index
    again = install("torch", "torchvision", options="--force-reinstall")
    if number[0] == 2 and vision.split(".")[:2] != ["0", str(number[1] + _VISION_AHEAD)]:
        return Finding(RED, f"{found}: not a pair; {problem or 'they are built together'}", mend)
    if problem:
        return Finding(RED, f"{found}: {problem}", again)
    if cuda is not None and not vision_cuda:
        return Finding(RED, f"{found}: torch is built for CUDA, torchvision is not", mend)
    if number < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        return Finding(YELLOW, f"{found}: tried from {oldest} on", again)
    return Finding(GREEN, found)


def arrays() -> Finding:
    """NumPy with PyTorch, and OpenCV."""
    problem = import_problem("numpy")[0]
    if not problem:
        try:
            import numpy
            import torch

            torch.from_numpy(numpy.zeros(1)).numpy()
        except ImportError:
            pass  # the check of PyTorch tells
        except Exception as error:
            problem = described(error)
    return judge_arrays(version("numpy"), carriers("cv2"), problem, import_problem("cv2")[0])


def judge_arrays(
    numpy: str | None, opencv: Mapping[str, str], numpy_problem: str, opencv_problem: str
) -> Finding:
    """NumPy made for another PyTorch, OpenCV without its libraries, or two OpenCVs at once."""
    found = ", ".join(
        [f"numpy {numpy or 'not installed'}", *(f"{n} {v}" for n, v in opencv.items())]
    )
    if numpy_problem:
        mend = install("numpy<2") if numpy and not numpy.startswith("1.") else install("numpy")
        return Finding(RED, f"{found}: {numpy_problem}", mend)
    if opencv_problem:
        remove = f"pip uninstall -y {' '.join(opencv)} && " if opencv else ""
        # Without a display there is no libGL.so.1, which the plain one needs.
        return Finding(
            RED, f"{found}: {opencv_problem}", remove + install("opencv-python-headless")
        )
    if len(opencv) > 1:
        extra = [name for name in opencv if name != "opencv-python"]
        again = install("opencv-python", options="--force-reinstall --no-deps")
        mend = f"pip uninstall -y {' '.join(extra)} && {again}"
        return Finding(YELLOW, f"{found}: both write the folder cv2", mend)
    return Finding(GREEN, found)


def evaluation() -> Finding:
    """What computes AP: pycocotools, and faster-coco-eval for the recipes' metric."""
    problems = {
        "pycocotools": import_problem("pycocotools.mask")[0],
        "faster-coco-eval": import_problem("faster_coco_eval")[0],
    }
    return judge_evaluation({name: version(name) for name in problems}, problems)


def judge_evaluation(numbers: Mapping[str, str | None], problems: Mapping[str, str]) -> Finding:
    """Missing, built for another NumPy, or fine."""
    found = ", ".join(f"{name} {number or 'not installed'}" for name, number in numbers.items())
    broken = [name for name, problem in problems.items() if problem and numbers[name]]
    if broken:
        first = problems[broken[0]]
        return Finding(RED, f"{found}: {first}", install(*broken, options="--force-reinstall"))
    absent = [name for name, number in numbers.items() if number is None]
    if absent:
        return Finding(YELLOW, f"{found}: detection is not evaluated without", install(*absent))
    return Finding(GREEN, found)


def variables() -> Finding:
    """The settings of the environment that change what runs."""
    return judge_variables(os.environ)


def judge_variables(environment: Mapping[str, str]) -> Finding:
    """Those that are set; paths in them are not shown."""
    short = ("CUDA_VISIBLE_DEVICES", "MMCONVNEXT_OPS", "OMP_NUM_THREADS", "LOCAL_RANK")
    unsafe = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    shown = [f"{name}={environment[name]}" for name in (*short, unsafe) if name in environment]
    shown += [f"{name} set" for name in ("PYTHONPATH", "TORCH_HOME") if environment.get(name)]
    found = ", ".join(shown) or "none set"
    if environment.get(unsafe, "0").lower() in ("1", "y", "yes", "true"):
        return Finding(YELLOW, f"{found}: any checkpoint may run code", f"unset {unsafe}")
    return Finding(GREEN, found)
