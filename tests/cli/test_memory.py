from __future__ import annotations

import json
from pathlib import Path

import pytest

import mmconvnext
from mmconvnext.cli.configs import load_config
from mmconvnext.cli.main import main
from mmconvnext.cli.memory import PAGE_HEAD, RECIPES, training_shape

DEMO = "mmconvnext::demo/cascade_convnext_shapes.py"
SMALL = ["--shape", "64", "64"]
PAGE = Path(mmconvnext.__file__).parents[1] / "docs" / "memory.md"


def test_json_tells_bytes_and_batches_of_every_mode(capsys) -> None:
    assert main(["memory", DEMO, *SMALL, "--gpus", "2", "4", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["config"], found["shape"], found["heads_counted"]) == (DEMO, [64, 64], True)
    modes = [(mode["precision"], mode["recompute"]) for mode in found["modes"]]
    names = (None, "activation", "mlp", "block")
    assert modes == [(precision, name) for precision in ("fp32", "16 bits") for name in names]
    kept = [mode["kept_bytes_per_picture"] for mode in found["modes"]]
    assert kept[:4] == sorted(kept[:4], reverse=True)
    for mode in found["modes"]:
        left = [gib * 2**30 for gib in (1, 3)]  # without CUDA's
        for gpu, free in zip(("2", "4"), left, strict=True):
            rest = free - found["weight_bytes"] - 1.15 * mode["kept_bytes_besides"]
            assert mode["batch"][gpu] == int(rest / (1.15 * mode["kept_bytes_per_picture"]))


def test_table_has_a_row_for_each_mode_and_says_how_it_was_counted(capsys) -> None:
    config = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
    assert main(["memory", config, *SMALL, "--gpus", "1", "11"]) == 0
    out = capsys.readouterr().out
    assert out.count("as configured") == 2
    rows = [line.split("│")[1:-1] for line in out.splitlines() if line.startswith("│")]
    assert [row[-2].strip() for row in rows] == ["-", "-"]  # 1 GiB is CUDA's alone
    assert all(int(row[-1]) > 100 for row in rows)
    assert "16 bytes a parameter" in " ".join(out.split())


def test_says_where_heads_were_not_counted(capsys) -> None:
    config = "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py"
    assert main(["memory", config, *SMALL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["heads_counted"] is False


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        ("detection/cascade_convnext_t_coco.py", (800, 1344)),
        ("detection/mask_rcnn_convnextv2_b_fcmae_coco.py", (1024, 1024)),
        ("segmentation/upernet_convnext_l_in22k_ade20k_640.py", (640, 640)),
    ],
)
def test_pictures_are_as_large_as_the_config_makes_them(config, shape) -> None:
    assert training_shape(load_config(f"mmconvnext::{config}", {})) == shape


def test_the_page_is_what_the_command_writes(capsys) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.startswith(PAGE_HEAD)
    sections = page.split("\n## ")
    assert [s.partition(",")[0].removeprefix("mmconvnext::") for s in sections[1:]] == [*RECIPES]
    recipe = "segmentation/upernet_convnext_t_ade20k_512.py"
    assert main(["memory", f"mmconvnext::{recipe}", "--markdown"]) == 0
    written = capsys.readouterr().out.split("\n## ")
    summary, row = written[0].strip().rpartition("\n")[::2]
    assert sections[0].startswith(summary) and row in sections[0]
    assert row.startswith(f"| mmconvnext::{recipe} | ") and row.count(" / ") == 4
    assert written[1].strip() in [section.strip() for section in sections]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["nowhere.py"], "config not found: nowhere.py"),
        ([DEMO, "--shape", "16", "16"], "--shape 16 16: input: expected at least 32x32 pixels"),
        ([DEMO, "--gpus", "0"], "must be at least 1"),
        ([DEMO, "--gpus", "big"], "must be a whole number, not 'big'"),
        ([DEMO, "--json", "--markdown"], "not allowed with argument"),
        (["mmconvnext::_base_/runtime.py"], "has no model: nothing to count"),
    ],
)
def test_failures_are_one_line(argv, line, capsys) -> None:
    assert main(["memory", *argv]) == 2
    err = capsys.readouterr().err
    assert line in err and "Traceback" not in err
