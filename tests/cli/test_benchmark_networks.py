"""``benchmark networks``: the suite that runs by itself."""

from __future__ import annotations

import csv

import pytest

from mmconvnext.cli.benchmark import main

ASKED = ["networks", "--methods", "mask-rcnn", "--networks"]


def test_it_counts_times_prints_and_writes(tmp_path, capsys):
    page, table, picture = tmp_path / "n.md", tmp_path / "new" / "n.csv", tmp_path / "n.png"
    files = ["--page", str(page), "--csv", str(table), "--picture", str(picture)]
    assert main([*ASKED, "resnet50", "--rounds", "1", "--size", "64", *files]) == 0
    out = capsys.readouterr().out
    assert "ResNet-50" in out and "in 1 of 1" in out
    (row,) = csv.DictReader(table.open())
    assert row["published_gflops"] == "260" and float(row["images_per_second"]) > 0
    assert float(row["kept_gib"]) == pytest.approx(2.12, abs=0.01)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    text = page.read_text()
    assert "Written by `mmconvnext benchmark networks --methods mask-rcnn" in text
    assert "![accuracy over GFLOPs](n.png)" in text
    assert "the median of 1 measurement, all" in text


def test_without_timing_nothing_is_timed(capsys):
    assert main([*ASKED, "resnet50", "resnet50", "--no-time"]) == 0
    out = capsys.readouterr().out
    assert "img/s" not in out and out.count("ResNet-50") == 1


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([*ASKED, "swin-tt"], "--networks swin-tt: expected timm:NAME or one of resnet50"),
        ([*ASKED, "timm:"], "--networks timm:: expected timm:NAME"),
        (["networks", "--methods", "yolo"], "invalid choice: 'yolo'"),
        (["networks", "start"], "networks runs by itself, found networks start"),
        (["networks", "--json", "a.json"], "networks takes no --json"),
        (["networks", "--picture", "a.txt"], "--picture a.txt: expected a name in .png"),
        (["start", "--csv", "a.csv"], "--csv is for the suite networks"),
        (["start", "--no-time"], "--no-time is for the suite networks"),
        (["networks", "--size", "0"], "must be at least 1"),
    ],
)
def test_wrong_options_are_one_line(asked, told, capsys):
    assert main(asked) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_files_that_cannot_be_written_are_refused_before_the_work(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([*ASKED, "resnet50", "--csv", str(tmp_path / "file" / "n.csv")]) == 2
    assert "its folder cannot be made: " in capsys.readouterr().err
    assert main([*ASKED, "resnet50", "--page", str(tmp_path)]) == 2
    assert "expected a file to write, found a folder" in capsys.readouterr().err


def test_a_picture_of_nothing_is_refused(tmp_path, capsys):
    pytest.importorskip("timm")
    picture = tmp_path / "n.png"
    asked = [*ASKED, "timm:vit_tiny_patch16_224", "--no-time", "--picture", str(picture)]
    assert main(asked) == 2
    assert "none of the networks has a published accuracy" in capsys.readouterr().err
    assert not picture.exists()
