from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import pytest
import torch

from mmconvnext.cli.main import main


@pytest.fixture
def trained(tiny_config, trained_once):
    """The tiny config of a task and a checkpoint of it, to be read only."""
    return lambda task: (tiny_config(task), trained_once(task))


def test_prints_metrics_and_writes_predictions_and_pictures(
    trained, task, shapes, tmp_path, capsys
):
    config, checkpoint = trained(task)
    out, painted = tmp_path / "new" / "predictions.pkl", tmp_path / "painted"
    capsys.readouterr()
    status = main(
        [
            "test",
            str(config),
            str(checkpoint),
            "--data-root",
            str(shapes[task]),
            "--work-dir",
            str(tmp_path / "w"),
            "--out",
            str(out),
            "--show-dir",
            str(painted),
        ]
    )
    table = capsys.readouterr().out.rpartition("metric")[2]
    assert status == 0
    assert ("mIoU" if task == "segmentation" else "coco/bbox_mAP_50") in table
    predictions = pickle.loads(out.read_bytes())
    assert len(predictions) == 4
    assert all("seg_logits" not in p for p in predictions)
    assert ("pred_sem_seg" if task == "segmentation" else "pred_instances") in predictions[0]
    part = "images/validation" if task == "segmentation" else "images/val"
    assert {Path(p["img_path"]).parent for p in predictions} == {shapes[task] / part}
    assert [p.name for p in sorted(painted.iterdir())] == [f"00000{n}.png" for n in range(4)]
    assert cv2.imread(str(painted / "000000.png")).shape[0] == 64
    assert [p.name for p in out.parent.iterdir()] == [out.name]


def test_a_failing_run_leaves_an_earlier_out_file_alone(
    trained, shapes, tmp_path, monkeypatch, capsys
):
    config, checkpoint = trained("segmentation")
    out = tmp_path / "predictions.pkl"
    out.write_bytes(b"earlier")

    def fail(*_, **__):
        raise RuntimeError("the disk\nis on fire")

    monkeypatch.setattr("mmengine.evaluator.metric.DumpResults.compute_metrics", fail)
    capsys.readouterr()
    status = main(
        [
            "test",
            str(config),
            str(checkpoint),
            "--data-root",
            str(shapes["segmentation"]),
            "--work-dir",
            str(tmp_path / "w"),
            "--out",
            str(out),
        ]
    )
    assert status == 1
    said = capsys.readouterr().err.splitlines()
    assert (
        said[-1]
        == "mmconvnext test: RuntimeError: the disk is on fire; --debug shows the traceback"
    )
    assert out.read_bytes() == b"earlier"
    assert not list(tmp_path.glob(".*unfinished*"))


def test_a_detector_on_mmpretrains_backbone_tests_alike(trained, shapes, tmp_path, capsys):
    config, checkpoint = trained("detection")
    content = torch.load(checkpoint, weights_only=False)
    content["state_dict"] = {
        key.replace("dwconv", "depthwise_conv").replace("pwconv", "pointwise_conv"): value
        for key, value in content["state_dict"].items()
    }
    theirs = tmp_path / "zoo.pth"
    torch.save(content, theirs)
    where = ["--data-root", str(shapes["detection"]), "--work-dir", str(tmp_path / "w")]
    tables = []
    for file in (checkpoint, theirs):
        capsys.readouterr()
        assert main(["test", str(config), str(file), *where]) == 0
        tables.append(capsys.readouterr().out.rpartition("metric")[2])
    assert tables[0] == tables[1] and "coco/bbox_mAP_50" in tables[0]
    # From such a file training starts as well, heads and all.
    options = ["--cfg-options", f"load_from={theirs}"]
    assert main(["train", str(config), "--max-iters", "1", *where, *options]) == 0


def table_of(said: str) -> str:
    return said.rpartition("metric")[2]


def test_fused_and_compiled_it_measures_the_same(trained, task, shapes, tmp_path, capsys):
    config, checkpoint = trained(task)
    command = ["test", str(config), str(checkpoint), "--data-root", str(shapes[task])]
    command += ["--work-dir", str(tmp_path / "w"), "--out", str(tmp_path / "out.pkl")]
    tables, predictions = [], []
    for options in ([], ["--fuse"], ["--fuse", "--compile"]):
        capsys.readouterr()
        assert main([*command, *options]) == 0
        tables.append(table_of(capsys.readouterr().out))
        predictions.append(pickle.loads((tmp_path / "out.pkl").read_bytes()))
    assert "mIoU" in tables[0] or "bbox_mAP" in tables[0]
    assert tables[1] == tables[0] and tables[2] == tables[0]
    if task == "segmentation":
        for plain, *others in zip(*predictions, strict=True):
            for other in others:
                same = other["pred_sem_seg"]["data"] == plain["pred_sem_seg"]["data"]
                assert same.float().mean() > 0.99


def test_fuse_works_with_several_views(trained, shapes, tmp_path, capsys):
    config, checkpoint = trained("segmentation")
    command = ["test", str(config), str(checkpoint), "--data-root", str(shapes["segmentation"])]
    command += ["--work-dir", str(tmp_path / "w"), "--tta"]
    tables = []
    for options in ([], ["--fuse"]):
        capsys.readouterr()
        assert main([*command, *options]) == 0
        tables.append(table_of(capsys.readouterr().out))
    assert "mIoU" in tables[0] and tables[1] == tables[0]


def test_fuse_without_a_convnext_says_so(trained, shapes, tmp_path, monkeypatch, capsys):
    config, checkpoint = trained("segmentation")
    monkeypatch.setattr("mmconvnext.inference.optimizing.ConvNeXt", type("Other", (), {}))
    command = ["test", str(config), str(checkpoint), "--data-root", str(shapes["segmentation"])]
    assert main([*command, "--work-dir", str(tmp_path / "w"), "--fuse"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "expected a mmconvnext.ConvNeXt in it, found none in EncoderDecoder" in said


def test_compile_without_a_compiler_says_so_in_one_line(trained, shapes, tmp_path, capsys):
    config, checkpoint = trained("segmentation")
    cxx = torch._inductor.config.cpp.cxx
    command = ["test", str(config), str(checkpoint), "--data-root", str(shapes["segmentation"])]
    capsys.readouterr()
    torch._dynamo.reset()
    with (
        torch._inductor.utils.fresh_inductor_cache(),
        torch._inductor.config.patch({"cpp.cxx": (None, "/no/such/g++")}),
    ):
        status = main([*command, "--work-dir", str(tmp_path / "w"), "--compile"])
    assert torch._inductor.config.cpp.cxx == cxx
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert status == 2
    assert line.startswith("mmconvnext test: --compile: torch.compile: expected a C++ compiler")
    assert not (tmp_path / "w").exists()
