from __future__ import annotations

import json
import math

import pytest
from sample_runs import LOG, training, write_run, write_start

from mmconvnext.visualization.report.config_text import differences, parse_config, setting
from mmconvnext.visualization.report.layers import contents, rates_of
from mmconvnext.visualization.report.runs import read_run, read_runs
from mmconvnext.visualization.report.sections import build_page


def test_starts_are_joined_and_the_later_one_counts(tmp_path):
    run = read_run(write_run(tmp_path / "run"), "run")
    assert [step for step, _ in run.train["loss"]] == list(range(20, 301, 20))
    assert [value for _, value in run.train["loss"]] == [3.0] * 5 + [1.0] * 10
    starts = [(start.first, start.last, start.used) for start in run.starts]
    assert starts == [(20, 180, 100), (120, 300, 300)]
    # a validation's epoch becomes its iteration, and its time is not that of training
    assert run.val["coco/bbox_mAP"] == [(100, 0.25), (300, 0.75)]
    assert "coco/bbox_mAP_l" not in run.val  # -1: no object of this size
    assert set(run.train["time"]) == {(step, 0.5) for step in range(20, 301, 20)}
    assert (run.last_iter, run.max_iters, run.iters_per_epoch) == (300, 300, 100)
    assert run.elapsed[-1] == (300, pytest.approx(150.0))
    assert run.main_metric == "coco/bbox_mAP" and list(run.metrics) == ["coco/bbox_mAP"]
    assert run.class_precisions == {"dog <script>window.harmed = 5</script>": 0.5}


def test_a_fresh_start_in_the_folder_replaces_all(tmp_path):
    write_start(tmp_path, "20260131_120000", [training(step) for step in (20, 40, 60)])
    write_start(tmp_path, "20260131_130000", [training(20)])
    assert [step for step, _ in read_run(tmp_path, "run").train["loss"]] == [20]


@pytest.mark.parametrize(
    ("step", "expected"), [(40, 40), (45, 45), (0, 40)], ids=["same", "later", "no epochs"]
)
def test_a_validation_of_an_iteration_based_run(step, expected, tmp_path):
    entries = [{"loss": 1.0, "iter": 40, "step": 40}, {"mIoU": 5.0, "step": step}]
    write_start(tmp_path, "20260131_120000", entries, log="")
    run = read_run(tmp_path, "run")
    assert run.val["mIoU"] == [(expected, 5.0)]
    assert run.iters_per_epoch is None and run.facts.environment == ""


def test_epochs_are_found_in_the_curves_where_the_log_is_gone(tmp_path):
    # 35 iterations an epoch, logged every 10: the last 5 are never logged
    steps = [35 * epoch + i for epoch in range(3) for i in (10, 20, 30)]
    entries = [
        {"loss": 1.0, "epoch": (step - 1) // 35 + 1, "iter": step, "step": step} for step in steps
    ]
    entries.insert(3, {"mIoU": 5.0, "step": 1})
    write_start(tmp_path, "20260131_120000", entries, log="")
    run = read_run(tmp_path, "run")
    assert run.iters_per_epoch == 35 and run.val["mIoU"] == [(35, 5.0)]


def test_the_log_tells_environment_and_classes(tmp_path):
    write_start(tmp_path, "20260131_120000", [training(20)], log=LOG)
    facts = read_run(tmp_path, "run").facts
    assert facts.environment.splitlines()[0] == "System environment:"
    assert "seed: 0" in facts.environment and "model =" not in facts.environment
    assert facts.command == "mmconvnext train 'my <b>.py' --seed 0"
    assert facts.class_columns == ("IoU", "Acc")
    sky, hostile = facts.classes.items()
    assert sky == ("sky", (81.25, 90.0))
    assert hostile[0] == "a|b <script>window.harmed = 3</script>" and hostile[1][0] == 12.5
    assert math.isnan(hostile[1][1])


def test_tests_in_the_folder_are_read(tmp_path):
    place = tmp_path / "20260131_140000"
    place.mkdir()
    (place / f"{place.name}.json").write_text(json.dumps({"mIoU": 44.5, "note": "text"}))
    (place / f"{place.name}.log").write_text(LOG)
    run = read_run(tmp_path, "run")
    assert run.tests == [("20260131_140000", {"mIoU": 44.5})]
    assert run.facts.classes["sky"] == (81.25, 90.0) and run.starts == []


def test_a_folder_without_a_run_is_named_with_what_lies_below(tmp_path):
    write_run(tmp_path / "demo" / "train")
    with pytest.raises(ValueError, match=r"found none; runs below it: .*demo/train"):
        read_run(tmp_path / "demo", "demo")
    with pytest.raises(ValueError, match="found no folder"):
        read_run(tmp_path / "absent", "absent")
    (tmp_path / "empty" / "20260131_120000").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"scalars.json with entries, found none"):
        read_run(tmp_path / "empty", "empty")


def test_names_are_as_long_as_tells_them_apart(tmp_path):
    folders = [write_run(tmp_path / part / "train") for part in ("a", "b")]
    assert [run.name for run in read_runs(folders)] == ["a/train", "b/train"]
    with pytest.raises(ValueError, match="found one twice"):
        read_runs([folders[0], folders[0]])


def test_a_dumped_config_is_read_and_code_is_not():
    dumped = "a = dict(b=[dict(c=-1), (2, None)], d={'x y': 0.5})\ne = inf\n"
    parsed = parse_config(dumped)
    assert parsed == {"a": {"b": [{"c": -1}, (2, None)], "d": {"x y": 0.5}}, "e": math.inf}
    assert setting(parsed, "a.d.x y") == 0.5 and setting(parsed, "a.b.c") is None
    for code in ("a = open('/tmp/x')", "a = dict(**b)", "a = [i for i in range(3)]", "a = ("):
        assert parse_config(code) is None


def test_mmengines_own_dump_is_read(tmp_path):
    from mmengine.config import Config

    from mmconvnext.compat.mm_packages import find_config

    cfg = Config.fromfile(find_config("mmconvnext::detection/cascade_convnext_t_coco.py"))
    parsed = parse_config(cfg.pretty_text)
    assert parsed is not None
    assert parsed["optim_wrapper"] == cfg.optim_wrapper.to_dict()
    assert parsed["model"] == cfg.model.to_dict()


def test_differences_are_the_settings_that_differ():
    first = {"a": 1, "b": {"c": [{"d": 1}, {"d": 2}], "e": [1, 2]}}
    second = {"a": 1, "b": {"c": [{"d": 1}, {"d": 3}], "e": [1, 3]}, "f": None}
    assert differences([first, second]) == [
        ("b.c.1.d", ["2", "3"]),
        ("b.e", ["[1, 2]", "[1, 3]"]),
        ("f", ["", "None"]),
    ]


def test_rates_come_from_the_config_alone(tmp_path):
    config = read_run(write_run(tmp_path), "run").config
    rates = rates_of(config)
    assert [entry.layer for entry in rates] == sorted(entry.layer for entry in rates)
    first = rates[0]
    assert contents(first.names) == "downsample_layers.0"
    assert first.scale == pytest.approx(0.7 ** (rates[-1].layer)) and rates[-1].scale == 1.0
    assert first.rate == pytest.approx(2e-4 * first.scale)
    parts = {part for entry in rates for part in contents(entry.names).split(", ")}
    frozen = {"type": "mmconvnext.ConvNeXt", "arch": "atto", "use_grn": True, "frozen_stages": 2}
    left = rates_of({**config, "model": {"backbone": frozen}})
    assert left[0].layer == 3 and any("grn" in name for entry in left for name in entry.names)
    assert {"stages.0 blocks 0-1", "stages.2 blocks 3-5", "norm3"} <= parts


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model", {"type": "X", "backbone": {"type": "ResNet"}}),
        ("model", {"backbone": {"type": "mmconvnext.ConvNeXt", "arch": "no such"}}),
        ("optim_wrapper", {"constructor": "os.system", "optimizer": {"lr": 1.0}}),
        ("optim_wrapper", {"constructor": "mmconvnext.LayerDecayOptimWrapperConstructor"}),
    ],
)
def test_what_has_no_rates_is_a_reason(path, value, tmp_path):
    config = read_run(write_run(tmp_path), "run").config
    with pytest.raises(ValueError):
        rates_of({**config, path: value})


def test_the_page_shows_the_command_line_where_the_log_has_it(tmp_path):
    entries = [training(20)]
    write_start(tmp_path / "ours", "20260131_120000", entries)
    log = "".join(line for line in LOG.splitlines(True) if "Command line" not in line)
    write_start(tmp_path / "mm", "20260131_120000", entries, log=log)
    ours, mm = (build_page([read_run(tmp_path / name, name)], [None]) for name in ("ours", "mm"))
    assert "mmconvnext train &#x27;my &lt;b&gt;.py&#x27; --seed 0" in ours
    assert "has no command line" in mm and "has no command line" not in ours
