from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmconvnext.cli.main import main
from mmconvnext.visualization.report.evaluation import FILE, load_evaluation

TWO_METRICS = """
val_evaluator = dict(metric=["bbox", "proposal"])
test_evaluator = val_evaluator
"""


@pytest.fixture
def trained(tiny_config, shapes, tmp_path, capsys):
    """Trains the tiny config of a task for one iteration; returns the work directory."""

    def run(task: str) -> Path:
        config = tiny_config(task, TWO_METRICS if task == "detection" else "")
        work = tmp_path / "work"
        where = ["--data-root", str(shapes[task]), "--work-dir", str(work)]
        assert main(["train", str(config), "--max-iters", "1", *where]) == 0
        capsys.readouterr()
        return work

    return run


def test_evaluates_once_and_shows_it_from_then_on(trained, task, tmp_path, capsys):
    work = trained(task)
    assert main(["report", str(work), "--evaluate", "--device", "cpu"]) == 0
    assert "report.html, " in capsys.readouterr().out.splitlines()[-1]
    page = (work / "report.html").read_text(encoding="utf-8")
    found = load_evaluation(work)
    assert found is not None and (found.checkpoint, found.pictures) == ("iter_1.pth", 4)
    assert {"circle", "square", "triangle"} <= set(found.classes)
    columns = dict(zip(found.class_columns, zip(*found.class_rows, strict=True), strict=True))
    if task == "segmentation":
        ious = np.array(columns["IoU"], float)
        assert 100 * np.nanmean(ious) == pytest.approx(found.metrics["mIoU"], abs=0.02)
        assert len(found.labels) == 4 and sum(columns["share of pixels"]) == pytest.approx(
            1, abs=1e-3
        )
        counted = sum(map(sum, found.confusion))
        assert 0 < counted <= 4 * 64 * 64
    else:
        assert {"coco/bbox_mAP", "coco/AR@100"} <= found.metrics.keys()
        precisions = [value for value in columns["box AP"] if value is not None]
        assert np.mean(precisions) == pytest.approx(found.metrics["coco/bbox_mAP"], abs=2e-3)
        assert found.labels[-1] == "background" and sum(columns["objects"]) > 0
    scores = [[shown.score for shown in kind] for kind in (found.best, found.worst)]
    assert scores[0] == sorted(scores[0], reverse=True) and scores[1] == sorted(scores[1])
    assert 0 < len(scores[0]) == len(scores[1]) <= 4
    assert page.count("data:image/jpeg;base64,") == 4 * len(scores[0])
    # The run's own files are as they were, and the next report shows the same without a run.
    assert {p.name for p in work.glob("*.py")} == {"tiny.py"}
    before = (work / FILE).read_bytes()
    for config in work.glob("*/vis_data/config.py"):
        config.write_text("raise SystemExit('the config was run')")
    out = tmp_path / "new" / "again.html"
    assert main(["report", str(work), "-o", str(out)]) == 0
    again = out.read_text(encoding="utf-8")
    assert again.count("data:image/jpeg;base64,") == 4 * len(scores[0])
    assert (work / FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["absent"], "absent: expected a work directory of a run, found no folder"),
        (["."], "expected a work directory with folders like 20260131_120000, found none"),
        (["run", "-o", "run"], "--out run: is a folder, a file is needed"),
        (["run", "other", "--checkpoint", "a.pth"], "--evaluate takes each one's own"),
        (["run", "--evaluate"], "expected a checkpoint (*.pth), found none"),
        (["run", "--checkpoint", "no.pth"], "has no test_dataloader, test_cfg, test_evaluator"),
        (["run", "--smooth"], "unrecognized arguments: --smooth"),
        (["run", "run"], "expected different folders, found one twice"),
        (["kept"], "delete the file or evaluate again"),
        (["broken"], "scalars.json, line 1: expected a JSON object with a step"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_page(options, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("run", "other", "kept", "broken"):
        place = tmp_path / name / "20260131_120000" / "vis_data"
        place.mkdir(parents=True)
        (place / "scalars.json").write_text('{"loss": 1.0, "iter": 1, "step": 1}\n')
        (place / "config.py").write_text("model = dict(type='NoSuchModel')\n")
    (tmp_path / "kept" / FILE).write_text("{}")
    broken = tmp_path / "broken" / "20260131_120000" / "vis_data" / "scalars.json"
    broken.write_text("not json\n{}\n")
    assert main(["report", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not list(tmp_path.rglob("*.html"))
