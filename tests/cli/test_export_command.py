"""`mmconvnext export`: files that other runtimes read, compared before they are kept."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmconvnext import Predictor
from mmconvnext.cli.main import main
from mmconvnext.export import exporting, runner

onnx = pytest.importorskip("onnx", reason="no wheels of the export packages for this Python")


def export(models, task, out, *args) -> int:
    return main(["export", *models[task], "-o", str(out), *map(str, args)])


@pytest.fixture(scope="module")
def segmentor(models, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "segmentor.onnx"
    assert export(models, "segmentation", out) == 0
    return out


def test_a_segmentor_runs_in_onnx_runtime_at_any_size_and_number(models, segmentor):
    session, about = runner.load(str(segmentor))
    predictor = Predictor(*models["segmentation"], device="cpu")
    assert about["classes"] == list(predictor.legend.classes)
    for size in ((64, 64), (50, 81), (33, 40)):
        picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        found = runner.run(session, picture)
        assert found["classes"].shape == (1, *size)
        # OpenCV resizes a little differently.
        assert (found["classes"][0] == predictor(picture).classes).mean() > 0.95
    batch = np.random.default_rng(1).integers(0, 256, (3, 40, 60, 3), np.uint8)
    names = [output.name for output in session.get_outputs()]
    together = dict(zip(names, session.run(None, {"image": batch}), strict=True))
    for number in range(3):
        alone = runner.run(session, batch[number])
        np.testing.assert_allclose(together["logits"][number], alone["logits"][0], atol=1e-4)


def test_the_file_has_standard_operators_and_says_what_it_is(segmentor):
    model = onnx.load(segmentor)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    (entry,) = model.graph.input
    axes = [axis.dim_param or axis.dim_value for axis in entry.type.tensor_type.shape.dim]
    assert (entry.name, axes) == ("image", ["batch", "height", "width", 3])
    about = {pair.key: json.loads(pair.value) for pair in model.metadata_props}
    assert about["preprocessing"]["where"] == "inside"
    assert about["preprocessing"]["mean"] == [123.675, 116.28, 103.53]
    assert about["mmconvnext_version"] and about["torch_version"] == torch.__version__
    assert str(Path.cwd()).encode() not in segmentor.read_bytes()


def test_the_runner_tells_classes_without_torch_and_this_package(segmentor, tmp_path):
    np.save(tmp_path / "picture.npy", np.zeros((40, 50, 3), np.uint8))
    code = (
        "import runpy, sys; sys.modules.update(torch=None, mmconvnext=None)\n"
        f"sys.argv = ['runner', {str(segmentor)!r}, {str(tmp_path / 'picture.npy')!r}]\n"
        f"runpy.run_path({runner.__file__!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    shares = [float(line.rpartition(": ")[2].rstrip("%")) for line in done.stdout.splitlines()]
    assert sum(shares) == pytest.approx(100, abs=0.3)


@pytest.mark.slow
def test_a_detector_finds_in_onnx_runtime_what_it_finds_here(models, shapes, tmp_path, capsys):
    out, root = tmp_path / "new" / "detector.onnx", shapes["detection"]
    # Masks that nobody trained are about 0.5 everywhere: rounding would decide at a higher one.
    options = ("--data-root", root, "--cfg-options", "model.test_cfg.rcnn.mask_thr_binary=0.02")
    assert export(models, "detection", out, *options) == 0
    lines = capsys.readouterr().out
    assert "ONNX Runtime and PyTorch on 6 pictures" in lines and "box IoU" in lines
    operators = {node.op_type for node in onnx.load(out).graph.node}
    assert {"NonMaxSuppression", "RoiAlign"} <= operators
    file = sorted((root / "images" / "val").iterdir())[0]
    picture = np.asarray(Image.open(file).convert("RGB"))
    session, about = runner.load(str(out))
    found = runner.run(session, picture)
    expected = Predictor(*models["detection"], device="cpu", score_threshold=0)(picture)
    assert len(found["scores"]) > 0
    np.testing.assert_allclose(found["scores"][:3], expected.scores[:3], atol=0.02)
    assert about["mask_threshold"] == 0.02
    np.save(tmp_path / "picture.npy", picture)
    runner.main(str(out), str(tmp_path / "picture.npy"))
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(found["scores"]) and told[0].endswith("pixels")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_an_archive_is_read_by_torch_alone(models, shapes, task, tmp_path):
    out = tmp_path / f"{task}.pt2"
    options = ["--to", "exported", "--preprocessing", "outside", "--data-root", shapes[task]]
    if task == "detection":
        options += ["--cfg-options", "model.test_cfg.rcnn.mask_thr_binary=0.02"]
    assert export(models, task, out, *options) == 0
    code = (
        "import json, sys; sys.modules['mmconvnext'] = None\n"
        "import torch, torchvision\n"
        "extra = {'metadata.json': ''}\n"
        f"model = torch.export.load({str(out)!r}, extra_files=extra).module()\n"
        "print(json.loads(extra['metadata.json'])['task'])\n"
        "print([tuple(x.shape) for x in model(torch.zeros(1, 3, 70, 90))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(task)


def test_a_backbone_of_one_size(models, tmp_path, capsys):
    out = tmp_path / "backbone.onnx"
    options = ("--part", "backbone", "--size", "32x64", "--opset", "18")
    assert export(models, "segmentation", out, *options) == 0
    model = onnx.load(out)
    shape = model.graph.input[0].type.tensor_type.shape
    assert [axis.dim_value for axis in shape.dim] == [1, 32, 64, 3]
    assert [output.name for output in model.graph.output][-1].startswith("stage_")
    assert "on 2 pictures" in capsys.readouterr().out


def test_a_file_that_differs_is_not_kept(models, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.onnx"
    out.write_text("the earlier one")
    run = exporting.onnx_run

    def spoilt(path):
        return lambda value: {name: x * 1.01 for name, x in run(path)(value).items()}

    monkeypatch.setattr(exporting, "onnx_run", spoilt)
    options = ("--part", "backbone", "--size", "32x32", "--force")
    assert export(models, "segmentation", out, *options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "finds something else than PyTorch, it was not kept: stage_" in line
    assert [file.name for file in tmp_path.iterdir()] == ["out.onnx"]
    assert out.read_text() == "the earlier one"


def test_large_weights_lie_beside_the_file(models, tmp_path, monkeypatch):
    monkeypatch.setattr("mmconvnext.export.writing.LARGEST", 1000)
    out = tmp_path / "backbone.onnx"
    assert export(models, "segmentation", out, "--part", "backbone", "--size", "32x32") == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == [out.name, f"{out.name}.data"]
    assert runner.load(str(out))[1]["task"] == "backbone"


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(models, tmp_path, monkeypatch, capsys, sign):
    monkeypatch.setattr(exporting, "onnx_run", lambda path: signal.raise_signal(sign))
    out = tmp_path / "new" / "backbone.onnx"
    assert export(models, "segmentation", out, "--part", "backbone", "--size", "32x32") == 130
    assert capsys.readouterr().err == "mmconvnext export: interrupted\n"
    assert not list(out.parent.iterdir())


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        ("x.pt2", (), "-o {}/x.pt2: --to onnx writes a file ending in .onnx"),
        ("here.onnx", (), "-o {}/here.onnx: exists; name another file, or replace it with --force"),
        ("here.onnx/x.onnx", (), "{}/here.onnx is no folder that can be written to"),
        ("x.onnx", ("--opset", "17"), "--opset 17: 18 is the oldest that PyTorch writes"),
        ("x.onnx", ("--size", "32"), "must be HEIGHTxWIDTH in pixels, not '32'"),
        ("x.onnx", ("--compare-with", "none.jpg"), "--compare-with: picture none.jpg cannot be"),
        ("x.onnx", ("--to", "tflite"), "invalid choice: 'tflite'"),
    ],
)
def test_bad_options_are_one_line_and_status_two(models, tmp_path, capsys, out, options, message):
    (tmp_path / "here.onnx").touch()
    assert export(models, "segmentation", tmp_path / out, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message.format(tmp_path) in line
    assert [file.name for file in tmp_path.iterdir()] == ["here.onnx"]


def test_missing_packages_are_named(models, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    assert export(models, "segmentation", tmp_path / "x.onnx") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "onnx, onnxscript, onnxruntime not installed; pip install 'mmconvnext[export]'" in line


def test_a_detector_of_another_kind_is_refused(models, tmp_path, capsys):
    change = ("--cfg-options", "model.test_cfg.rcnn.nms.type=soft_nms")
    assert export(models, "detection", tmp_path / "x.onnx", *change) == 2
    assert "with suppression soft_nms; --part backbone" in capsys.readouterr().err


@pytest.mark.slow
def test_a_trained_detector_is_exported_whole(tmp_path, capsys):
    """Cascade Mask R-CNN of the demo, and of its first stage Mask R-CNN."""
    from sample_exports import mask_rcnn_of_cascade

    # Half of the demo: enough for boxes, scores and masks that rounding does not decide.
    assert main(["demo", "--plain", "--max-iters", "60", "--work-dir", str(tmp_path)]) == 0
    data = ("--data-root", str(tmp_path / "data" / "coco"))
    checkpoint = next((tmp_path / "detection" / "train").glob("iter_*.pth"))
    pictures = sorted((tmp_path / "data" / "coco" / "images" / "val").iterdir())[:8]
    single = mask_rcnn_of_cascade(checkpoint, tmp_path)
    cascade = ("mmconvnext::demo/cascade_convnext_shapes.py", str(checkpoint))
    for config, weights in (cascade, single):
        capsys.readouterr()
        out = tmp_path / f"{Path(config).stem}.onnx"
        options = ("-o", str(out), *data, "--compare-with", *map(str, pictures))
        assert main(["export", config, weights, *options]) == 0
        first = capsys.readouterr().out.splitlines()[0]
        assert "on 24 pictures" in first
        assert int(first.rpartition(": ")[2].split()[0]) >= 24
