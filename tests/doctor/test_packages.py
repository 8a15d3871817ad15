"""Each rule about packages, with made-up versions: once fine, once for each thing that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmconvnext.doctor import distributions, openmmlab, packages
from mmconvnext.doctor.finding import Finding, one_line

FINE = {"mmcv": "2.1.0", "mmengine": "0.10.7"}
NEEDS = {"mmcv": "<2.2.0,>=2.0.0rc4", "mmengine": "<1.0.0,>=0.7.1"}


@pytest.fixture(autouse=True)
def no_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What mends names the packages of the stack that is installed; here that is OpenMMLab's."""
    real = distributions.version

    def version(name: str) -> str | None:
        return None if name == "onedl-mmengine" else real(name)

    monkeypatch.setattr(distributions, "version", version)


def test_python() -> None:
    assert packages.judge_python((3, 10, 0), "Linux").state == "green"
    old = packages.judge_python((3, 9, 18), "Linux")
    assert old.state == "red" and "3.10 or newer is needed" in old.found


@pytest.mark.parametrize(
    ("torch", "vision", "more", "state", "mend"),
    [
        ("2.14.1", "0.29.1", {}, "green", ""),
        ("2.1.0+cu121", "0.16.0+cu121", {"cuda": "12.1", "vision_cuda": True}, "green", ""),
        (
            "2.1.0+cu121",
            "0.17.0",
            {},
            "red",
            "pip install --force-reinstall --no-deps 'torchvision==0.16.*' "
            "--index-url https://download.pytorch.org/whl/cu121",
        ),
        ("2.5.1", "0.20.1", {"cuda": "12.4"}, "red", "'torchvision==0.20.*'"),
        ("2.0.1", "0.15.2", {}, "yellow", "pip install --force-reinstall torch torchvision"),
        ("2.5.1", "0.20.1", {"problem": "OSError: libtorch"}, "red", "torch torchvision"),
        (None, None, {}, "red", "pip install torch torchvision"),
        ("2.5.1", None, {"problem": "No module"}, "red", "pip install torch torchvision"),
    ],
)
def test_torch_and_torchvision(torch, vision, more, state, mend) -> None:
    finding = packages.judge_torch(torch, vision, **more)
    assert finding.state == state
    assert mend in finding.mend and bool(mend) == bool(finding.mend)


def test_arrays() -> None:
    one = {"opencv-python": "4.10"}
    assert packages.judge_arrays("2.1", one, "", "").state == "green"
    old = packages.judge_arrays("2.1", one, "RuntimeError: Numpy is not available", "")
    assert (old.state, old.mend) == ("red", "pip install 'numpy<2'")
    window = packages.judge_arrays("2.1", one, "", "ImportError: libGL.so.1: cannot open")
    assert window.state == "red" and "libGL.so.1" in window.found
    assert window.mend == "pip uninstall -y opencv-python && pip install opencv-python-headless"
    two = packages.judge_arrays("2.1", {**one, "opencv-python-headless": "4.9"}, "", "")
    assert two.state == "yellow" and two.mend.startswith("pip uninstall -y opencv-python-headless")


def test_mmengine() -> None:
    def judged(installed: dict, problem: str = "", has: bool = True) -> Finding:
        return openmmlab.judge_mmengine(installed, problem, has_pkg_resources=has)

    assert judged({"mmengine": "0.10.7"}).state == "green"
    assert judged({}) == Finding("red", "not installed", "pip install mmengine==0.10.7")
    without = judged({"mmengine": "0.10.7"}, has=False)
    assert (without.state, without.mend) == ("yellow", "pip install 'setuptools<80.9'")
    assert judged({"onedl-mmengine": "0.10.12"}, has=False).state == "green"
    assert judged({"mmengine": "0.10.7"}, "ImportError: x").state == "red"
    both = judged({"mmengine": "0.10.7", "onedl-mmengine": "0.10.12"})
    assert both.state == "red"
    assert both.mend == ("pip uninstall -y mmengine onedl-mmengine && pip install mmengine==0.10.7")


@pytest.mark.parametrize(
    ("installed", "more", "state", "mend"),
    [
        ({"mmcv-lite": "2.1.0"}, {"provided": 35}, "green", ""),
        ({"mmcv": "2.1.0"}, {"compiled_here": True}, "green", ""),
        ({}, {}, "red", "pip install mmcv-lite==2.1.0"),
        ({"mmcv": "2.1.0", "mmcv-lite": "2.1.0"}, {}, "red", "pip uninstall -y mmcv mmcv-lite && "),
        (
            {"mmcv": "2.1.0"},
            {"compiled_here": True, "extension_problem": "ImportError: undefined symbol: _ZN2at"},
            "red",
            "pip uninstall -y mmcv && pip install mmcv-lite==2.1.0",
        ),
        (
            {"mmcv-lite": "2.1.0"},
            {"extension_problem": "No module named 'mmcv._ext'", "switched_off": True},
            "red",
            "unset MMCONVNEXT_OPS",
        ),
        (
            {"mmcv-lite": "2.1.0"},
            {"extension_problem": "ModuleNotFoundError: No module named 'mmcv._ext'"},
            "red",
            "pip install --no-deps --editable ",
        ),
        ({"mmcv": "2.1.0"}, {"problem": "ImportError: libGL"}, "red", "mmcv-lite==2.1.0"),
    ],
)
def test_mmcv(installed, more, state, mend) -> None:
    finding = openmmlab.judge_mmcv(installed, **more)
    assert finding.state == state
    assert mend in finding.mend and bool(mend) == bool(finding.mend)


@pytest.mark.parametrize(
    ("installed", "numbers", "more", "state", "mend"),
    [
        ({"mmdet": "3.3.0"}, FINE, {}, "green", ""),
        ({}, FINE, {}, "yellow", "pip install mmdet==3.3.0"),
        ({"mmdet": "3.3.0"}, {**FINE, "mmcv": "2.2.0"}, {}, "red", "pip install mmcv-lite==2.1.0"),
        ({"mmdet": "3.3.0"}, {**FINE, "mmcv": "1.7.2"}, {}, "red", "pip install mmcv-lite==2.1.0"),
        ({"mmdet": "3.3.0"}, {**FINE, "mmengine": "0.5.0"}, {}, "red", "mmengine==0.10.7"),
        ({"mmdet": "3.3.0"}, FINE, {"problem": "x", "absent": "scipy.sparse"}, "red", "l scipy"),
        ({"mmdet": "3.3.0"}, FINE, {"problem": "SyntaxError: x"}, "red", "--no-deps mmdet==3.3.0"),
        ({"mmdet": "3.3.0", "onedl-mmdetection": "3.5"}, FINE, {}, "red", "pip uninstall -y mmdet"),
    ],
)
def test_hosts(installed, numbers, more, state, mend) -> None:
    finding = openmmlab.judge_host("mmdet", "detection", installed, NEEDS, numbers, **more)
    assert finding.state == state
    assert mend in finding.mend and bool(mend) == bool(finding.mend)


def test_mmseg_needs_what_it_does_not_declare() -> None:
    installed = {"mmsegmentation": "1.2.2"}
    finding = openmmlab.judge_host(
        "mmseg", "segmentation", installed, NEEDS, FINE, "No module named 'ftfy'", "ftfy"
    )
    assert (finding.state, finding.mend) == ("red", "pip install ftfy regex")
    absent = openmmlab.judge_host("mmseg", "segmentation", {}, NEEDS, FINE)
    assert absent.mend == "pip install mmsegmentation==1.2.2 ftfy regex"


def test_evaluation() -> None:
    there = {"pycocotools": "2.0.8", "faster-coco-eval": "1.8.0"}
    fine = dict.fromkeys(there, "")
    assert packages.judge_evaluation(there, fine).state == "green"
    absent = packages.judge_evaluation({**there, "faster-coco-eval": None}, fine)
    assert (absent.state, absent.mend) == ("yellow", "pip install faster-coco-eval")
    other = packages.judge_evaluation(
        there, {**fine, "pycocotools": "ValueError: numpy.dtype size changed"}
    )
    assert (other.state, other.mend) == ("red", "pip install --force-reinstall pycocotools")


def test_mmpretrain() -> None:
    assert openmmlab.judge_mmpretrain({}, "").state == "green"
    assert openmmlab.judge_mmpretrain({"mmpretrain": "1.2.0"}, "").state == "green"
    broken = openmmlab.judge_mmpretrain({"mmpretrain": "1.2.0"}, "ImportError: transformers")
    assert (broken.state, broken.mend) == ("red", "pip uninstall -y mmpretrain")


def test_variables() -> None:
    fine = packages.judge_variables({"OMP_NUM_THREADS": "1", "PYTHONPATH": "/secret", "HOME": "/x"})
    assert fine == Finding("green", "OMP_NUM_THREADS=1, PYTHONPATH set")
    assert packages.judge_variables({}).found == "none set"
    unsafe = packages.judge_variables({"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"})
    assert (unsafe.state, unsafe.mend) == ("yellow", "unset TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")


def test_mmconvnext() -> None:
    def judged(number="0.1.0", folder="/opt/site-packages/mmconvnext", at_start=True, **more):
        return openmmlab.judge_mmconvnext(number, "0.1.0", folder, at_start=at_start, **more)

    assert judged() == Finding("green", "0.1.0")
    home = judged(folder=f"{Path.home()}/code/mmconvnext")
    assert home == Finding("green", "0.1.0, from ~/code/mmconvnext")
    assert judged(at_start=False).mend == "pip install --force-reinstall --no-deps CHECKOUT"
    older = judged("0.2.0", f"{Path.home()}/code/mmconvnext")
    assert (older.state, older.mend) == ("yellow", "pip install --no-deps --editable ~/code")
    broken = judged(problem="ModuleNotFoundError: mmengine", absent="mmengine.config")
    assert (broken.state, broken.mend) == ("red", "pip install mmengine==0.10.7")


def test_limits_come_from_metadata_and_hold_what_the_package_itself_checks() -> None:
    pytest.importorskip("mmdet")
    import mmdet

    limits = distributions.limits("mmdet", "mmcv")
    if hasattr(mmdet, "mmcv_maximum_version"):
        assert distributions.fits(mmdet.mmcv_minimum_version, limits)
        assert not distributions.fits(mmdet.mmcv_maximum_version, limits)
    else:  # onedl's checks nothing itself
        assert distributions.fits("2.0.0", limits) and not distributions.fits("1.7.2", limits)
    assert distributions.fits("2.1.0+pt2.1cpu", limits)
    assert distributions.limits("mmdet", "mmengine")


def test_the_forks_limits_and_pins_are_found_by_their_names(monkeypatch) -> None:
    required = {
        "onedl-mmdetection": [
            'onedl-mmcv (>=2.3.0,<3); extra == "mminstall"',
            'onedl-mmengine>=0.10; extra == "tests"',
        ],
        "mmconvnext": ['onedl-mmcv==2.3.6; extra == "onedl"', 'mmcv-lite==2.1.0; extra == "other"'],
    }

    def version(name: str) -> str | None:
        return "0.10.12" if name in ("onedl-mmengine", "onedl-mmdetection") else None

    monkeypatch.setattr(distributions, "version", version)
    monkeypatch.setattr(distributions.metadata, "requires", required.get)
    assert distributions.limits("mmdet", "mmcv") == ">=2.3.0,<3"
    assert distributions.limits("mmdet", "mmengine") == ""
    assert distributions.pinned("mmcv") == "onedl-mmcv==2.3.6"
    assert distributions.pinned("mmseg") == "onedl-mmsegmentation"


def test_findings_are_one_line_without_the_home_folder() -> None:
    finding = Finding("red", f"no file\n  {Path.home()}/x/y", "rm\n z")
    assert (finding.found, finding.mend) == ("no file ~/x/y", "rm z")
    assert len(one_line("x" * 1000)) == 300
