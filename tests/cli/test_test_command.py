from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import pytest
import torch

from mmconvnext.cli.main import main


@pytest.fixture
def trained(tiny_config, shapes, tmp_path):
    """Trains the tiny config of a task for one iteration; returns config and checkpoint."""

    def run(task: str) -> tuple[Path, Path]:
        config, work = tiny_config(task), tmp_path / "trained"
        where = ["--data-root", str(shapes[task]), "--work-dir", str(work)]
        assert main(["train", str(config), "--max-iters", "1", *where]) == 0
        return config, work / "iter_1.pth"

    return run


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
