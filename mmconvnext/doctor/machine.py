"""Checks of the machine: GPU, compiler, processors, memory, disk, text encoding."""

from __future__ import annotations

import contextlib
import locale
import os
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmconvnext.doctor.finding import GREEN, RED, YELLOW, Finding, described

LOADERS = 4  # worker processes that mmseg's recipes start for each GPU; mmdet's start 2
GB = 1024**3
_ROOM = {"work folder": 10, "weights": 2, "temporary files": 1}  # GB; a checkpoint of XL has 4
_SHARED_MEMORY = 1  # GB
_MEMORY = 8  # GB
_SECONDS = 10
_APT = "apt-get install"


def gpu() -> Finding:
    """The NVIDIA driver, PyTorch's build, and the devices it sees."""
    import torch

    devices: list[tuple[str, tuple[int, int], float]] = []
    problem = ""
    try:
        if torch.version.cuda:
            torch.cuda.init()
        for index in range(torch.cuda.device_count()):
            seen = torch.cuda.get_device_properties(index)
            devices.append((seen.name, (seen.major, seen.minor), seen.total_memory / GB))
        if devices:
            torch.zeros(1, device="cuda").add(1).item()
    except Exception as error:
        problem = described(error)
    return judge_gpu(
        torch.version.cuda or torch.version.hip,
        _driver(),
        devices,
        built_for=torch.cuda.get_arch_list() if devices else (),
        problem=problem,
        hidden=os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"),
    )


def _driver() -> str | None:
    """The NVIDIA driver's version, None without one."""
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(answer.stdout.split()), None)


def judge_gpu(
    build: str | None,
    driver: str | None,
    devices: Sequence[tuple[str, tuple[int, int], float]],
    *,
    built_for: Sequence[str] = (),
    problem: str = "",
    hidden: bool = False,
) -> Finding:
    """Whether PyTorch can use the GPUs that are here.

    Args:
        build: the CUDA (or ROCm) version that PyTorch is built for.
        driver: the NVIDIA driver's version.
        devices: name, compute capability and memory in GB of what PyTorch sees.
        built_for: ``torch.cuda.get_arch_list()``.
        problem: what using the first device said.
        hidden: whether CUDA_VISIBLE_DEVICES hides them all.
    """
    reinstall = "pip install --force-reinstall torch torchvision"
    if devices:
        name, capability, memory = devices[0]
        number = ".".join(map(str, capability))
        found = f"{len(devices)} x {name}, {memory:.0f} GB, compute capability {number}, " + (
            f"CUDA {build}, driver {driver}"
        )
        if not _runs_on(capability, built_for):
            line = f"{found}: this torch has no code for it, only for {' '.join(built_for)}"
            return Finding(RED, line, reinstall)
        if problem:
            return Finding(RED, f"{found}: {problem}", "nvidia-smi")
        return Finding(GREEN, found)
    if driver is None:
        return Finding(GREEN, "none, all runs on the CPU")
    if build is None:
        line = f"driver {driver}, but torch is built for the CPU alone"
        mend = f"{reinstall} --index-url https://download.pytorch.org/whl/cu126"
        return Finding(YELLOW, line, mend)
    if hidden:
        line = f"driver {driver}, hidden by CUDA_VISIBLE_DEVICES"
        return Finding(YELLOW, line, "unset CUDA_VISIBLE_DEVICES")
    line = f"driver {driver}, torch for CUDA {build} sees no GPU: {problem or 'no reason given'}"
    # A driver that is too old, mostly: an older CUDA asks for less.
    return Finding(RED, line, f"{reinstall} --index-url https://download.pytorch.org/whl/cu126")


def _runs_on(capability: tuple[int, int], built_for: Sequence[str]) -> bool:
    """Whether code for these architectures runs on a device: the same major version and no later
    minor one, or an intermediate form (PTX) of any earlier version."""
    if not built_for:
        return True
    for architecture in built_for:
        kind, _, digits = architecture.partition("_")
        digits = digits.rstrip("abcdefghijklmnopqrstuvwxyz")  # sm_90a
        if not digits.isdecimal():  # ROCm's
            return True
        made = (int(digits[:-1]), int(digits[-1]))
        if kind == "compute" and made <= capability:
            return True
        if kind == "sm" and made[0] == capability[0] and made <= capability:
            return True
    return False


def compiler() -> Finding:
    """What ``--compile`` needs: a C++ compiler and Python's headers."""
    given = os.environ.get("CXX")
    names = [given] if given else ["g++", "clang++", "c++"]
    there = [name for name in names if shutil.which(name)]
    headers = Path(sysconfig.get_paths()["include"], "Python.h").is_file()
    return judge_compiler(there[0] if there else None, headers=headers)


def judge_compiler(name: str | None, *, headers: bool) -> Finding:
    """Either missing is a limit, no fault: nothing but ``--compile`` needs them."""
    if name is None:
        return Finding(YELLOW, "no C++ compiler: no --compile", f"{_APT} g++")
    if not headers:
        return Finding(YELLOW, f"{name}, but no Python.h: no --compile", f"{_APT} python3-dev")
    return Finding(GREEN, f"{name}, for --compile")


def processors() -> Finding:
    """Cores and memory that this process may use."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        cores = os.cpu_count() or 1
    return judge_processors(min(cores, _quota() or cores), _memory(), _gpus())


def _quota() -> int | None:
    """Cores that the container's quota amounts to."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _memory() -> float:
    """Memory in GB: the machine's, or the container's limit."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        whole = min(whole, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return whole / GB


def _gpus() -> int:
    try:
        import torch
    except Exception:  # the check of PyTorch tells
        return 0
    return torch.cuda.device_count()


def judge_processors(cores: int, memory: float, gpus: int) -> Finding:
    """Whether the data loaders' processes find a core, and a model its memory."""
    found = f"{cores} cores, {memory:.0f} GB of memory"
    if memory < _MEMORY:
        mend = "mmconvnext train … --cfg-options train_dataloader.batch_size=1"
        return Finding(YELLOW, f"{found}: less than {_MEMORY} GB is little to train on", mend)
    if gpus * LOADERS > cores:
        fewer = max(1, cores // gpus)
        mend = f"mmconvnext train … --cfg-options train_dataloader.num_workers={fewer}"
        line = f"{found}: {gpus} GPUs' data loaders are up to {gpus * LOADERS} processes"
        return Finding(YELLOW, line, mend)
    return Finding(GREEN, found)


def shared_memory() -> Finding:
    """/dev/shm, through which the data loaders' processes hand over pictures."""
    folder = Path("/dev/shm")
    return judge_shared_memory(shutil.disk_usage(folder).free / GB if folder.is_dir() else None)


def judge_shared_memory(free: float | None) -> Finding:
    """Too little ends in a bus error; a container gets 64 MB if nobody says more."""
    if free is None:
        return Finding(GREEN, "no /dev/shm on this system")
    if free < _SHARED_MEMORY:
        line = f"{free * 1024:.0f} MB free in /dev/shm: data loaders may end with a bus error"
        return Finding(YELLOW, line, "docker run --shm-size=8g … (or num_workers=0)")
    return Finding(GREEN, f"{free:.0f} GB free in /dev/shm")


def disk() -> Finding:
    """Room and rights where runs, downloaded weights and temporary files go."""
    cache = os.environ.get("TORCH_HOME") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "torch"
    )
    places = {
        "work folder": Path.cwd(),
        "weights": Path(cache).expanduser(),
        "temporary files": Path(tempfile.gettempdir()),
    }
    return judge_disk({name: _room(folder) for name, folder in places.items()})


def _room(folder: Path) -> float | None:
    """GB free for a folder that exists or will be made; None where it cannot be written to."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"written")
    except OSError:
        return None
    return shutil.disk_usage(there).free / GB


def judge_disk(room: Mapping[str, float | None]) -> Finding:
    """Whether every place can be written to and has room."""
    mends = {
        "work folder": "mmconvnext train … --work-dir DIR",
        "weights": "export TORCH_HOME=DIR",
        "temporary files": "export TMPDIR=DIR",
    }
    told = [
        f"{name} {'not writable' if free is None else f'{free:.0f} GB free'}"
        for name, free in room.items()
    ]
    found = ", ".join(told)
    closed = [name for name, free in room.items() if free is None]
    if closed:
        return Finding(RED, found, mends[closed[0]])
    full = [name for name, free in room.items() if free is not None and free < _ROOM[name]]
    if full:
        line = f"{found}; {full[0]}: {_ROOM[full[0]]} GB are little enough"
        return Finding(YELLOW, line, mends[full[0]])
    return Finding(GREEN, found)


def text() -> Finding:
    """The encoding in which files are read where nobody names one."""
    return judge_text(locale.getpreferredencoding(False))


def judge_text(encoding: str) -> Finding:
    """Configs and class names hold more than ASCII."""
    if encoding.lower().replace("-", "") != "utf8":
        return Finding(YELLOW, f"{encoding}, not UTF-8", "export PYTHONUTF8=1")
    return Finding(GREEN, "UTF-8")
