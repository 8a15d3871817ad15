from __future__ import annotations

import json

import pytest

from mmconvnext.cli.main import main

CASCADE = "mmconvnext::detection/cascade_convnext_t_coco.py"


def test_table_names_the_parts_and_the_totals(capsys) -> None:
    assert main(["analyze", CASCADE]) == 0
    out = capsys.readouterr().out
    rows = [line.split("│")[1:4] for line in out.splitlines() if line.startswith("│")]
    table = {name.strip(): (params.strip(), flops.strip()) for name, params, flops in rows}
    assert table["backbone stage 3"] == ("11.11", "44.32")
    assert table["roi_head.bbox_head.2"] == ("15.62", "128.86")
    assert table["all"] == ("85.93", "740.15")
    assert "Input 1280x800; RoIs: 1,000 boxes, 100 masks." in " ".join(out.split())


def test_json_holds_what_the_table_holds(capsys) -> None:
    assert main(["analyze", CASCADE, "--json", "--shape", "256", "320"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["config"], found["shape"]) == (CASCADE, [256, 320])
    assert found["params"] == sum(part["params"] for part in found["parts"])
    assert round(found["params"] / 1e6, 2) == 85.93
    assert found["gflops"] == pytest.approx(sum(part["gflops"] for part in found["parts"]))


def test_published_operations_and_what_the_fast_head_computes(capsys) -> None:
    config = "mmconvnext::segmentation/upernet_convnext_t_ade20k_512.py"
    shape = ["--shape", "512", "512"]
    assert main(["analyze", config, *shape, "--json"]) == 0
    fast = json.loads(capsys.readouterr().out)
    option = "model.decode_head.type=UPerHead"
    assert main(["analyze", config, *shape, "--json", "--cfg-options", option]) == 0
    stock = json.loads(capsys.readouterr().out)
    assert fast["parts"] == stock["parts"]
    assert fast["gflops"] == stock["gflops"] == stock["computed_gflops"]
    # Products at the small sizes instead of 128x128, of levels and of pooled maps; then the passes.
    products = 9 * 512 * 512 * (64**2 + 32**2 + 16**2 - 3 * 128**2)
    pooled = 9 * 512 * 512 * (1 + 4 + 9 + 36 - 4 * 16**2)
    passes = sum(512 * (9 * s * s * 128 + 3 * s * 128**2) for s in (64, 32, 16))
    passes += sum(512 * (9 * s * s * 16 + 3 * s * 16**2) for s in (1, 2, 3, 6))
    difference = (products + pooled + passes) / 1e9
    assert fast["computed_gflops"] - fast["gflops"] == pytest.approx(difference)
    assert main(["analyze", config, *shape]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"fast head gives the same numbers with {fast['computed_gflops']:.2f} GFLOPs" in out


def test_config_options_count(capsys) -> None:
    options = ["--cfg-options", "model.backbone.arch=small", "--json"]
    assert main(["analyze", CASCADE, *options]) == 0
    assert round(json.loads(capsys.readouterr().out)["gflops"]) == 826


def test_a_model_that_the_meta_device_cannot_run_is_counted_on_the_cpu(capsys) -> None:
    config = "mmdet::htc/htc-without-semantic_r50_fpn_1x_coco.py"
    assert main(["analyze", config, "--shape", "64", "64", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rois"].startswith("those that the untrained")


def test_a_config_is_left_as_it_is_for_the_second_count(capsys) -> None:
    # DINO's constructor writes into its config, so building it twice from one fails.
    config = "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py"
    assert main(["analyze", config, "--shape", "256", "256", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parts"][0]["part"] == "backbone"


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["nowhere.py"], "config not found: nowhere.py"),
        ([CASCADE, "--shape", "16", "16"], "--shape 16 16: input: expected at least 32x32 pixels"),
        ([CASCADE, "--shape", "0", "64"], "must be at least 1"),
        (["mmconvnext::_base_/runtime.py"], "has no model: nothing to count"),
    ],
)
def test_bad_input_is_one_line(argv, line, capsys) -> None:
    assert main(["analyze", *argv]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1 and line in err
