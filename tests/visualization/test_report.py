"""The report in a real browser: drawn, filtered, readable, harmless."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sample_runs import training, write_run, write_start

from mmconvnext.visualization.report.evaluation import FILE, Evaluation, Shown, load_evaluation
from mmconvnext.visualization.report.page import encode_picture
from mmconvnext.visualization.report.runs import read_runs
from mmconvnext.visualization.report.sections import build_page

EVIL = "dog <script>window.harmed = 1</script>"


def made_up_evaluation() -> Evaluation:
    picture = encode_picture(np.full((40, 60, 3), 90, np.uint8))
    return Evaluation(
        checkpoint="best.pth",
        made="2026-01-31 12:00",
        pictures=2,
        metrics={"coco/bbox_mAP": 0.5},
        classes=[EVIL, "cat"],
        class_columns=["objects", "box AP"],
        class_rows=[[3, 0.25], [5, None]],
        labels=[EVIL, "cat", "background"],
        confusion=[[2, 0, 1], [1, 4, 0], [7, 0, 0]],
        unit="objects",
        score="F1",
        rule="IoU 0.5",
        best=[Shown(f"/data/{EVIL}.jpg", 1.0, picture, picture)],
        worst=[Shown("/data/b.jpg", 0.0, picture, picture)],
    )


@pytest.fixture
def one(tmp_path):
    (run,) = read_runs([write_run(tmp_path / "run")])
    path = tmp_path / "one.html"
    path.write_text(build_page([run], [made_up_evaluation()]), encoding="utf-8")
    return path


@pytest.fixture
def two(tmp_path):
    folders = [write_run(tmp_path / "first"), write_run(tmp_path / "second", shift=1.0)]
    config = folders[1] / "20260131_130000" / "vis_data" / "config.py"
    config.write_text(config.read_text().replace("lr=0.0002", "lr=0.001"))
    path = tmp_path / "two.html"
    path.write_text(build_page(read_runs(folders), [None, None]), encoding="utf-8")
    return path


def chart(title: str) -> str:
    """JavaScript: the chart below a heading."""
    return (
        f"[...document.querySelectorAll('h3')].find(h => h.textContent === '{title}').parentElement"
    )


def path_of(browser, title: str, kind: str = "curve") -> list[tuple[float, float]]:
    """The points that a chart's only curve goes through."""
    drawn = browser.value(f"{chart(title)}.querySelector('path.{kind}').getAttribute('d')")
    points = [part.split() for part in drawn.replace("M", "L").split("L") if part]
    return [(float(x), float(y)) for x, y in points]


def click_legend(browser, label: str) -> None:
    browser.value(
        f"[...document.querySelectorAll('.legend button')].find(b => b.dataset.label === "
        f"'{label}').click()"
    )


def test_loads_without_errors_or_requests_and_draws_every_curve(one, browser):
    browser.open(one)
    assert browser.errors == [] and browser.requests == [one.as_uri()]
    assert browser.value("window.harmed") is None
    assert one.stat().st_size < 150_000
    titles = browser.value("[...document.querySelectorAll('.charts h3')].map(h => h.textContent)")
    assert titles == [
        "Loss, total",
        "Validation: bbox",
        "Losses",
        "Learning rate",
        "Time per iteration",
        "GPU memory",
        "Confusion matrix",
    ]
    loss = path_of(browser, "Loss, total")
    assert len(loss) == 15 and [x for x, _ in loss] == sorted(x for x, _ in loss)
    # 3.0 five times, 1.0 ten times: lower in value is lower in the picture
    assert len({y for _, y in loss[:5]}) == len({y for _, y in loss[5:]}) == 1
    assert loss[0][1] < loss[-1][1]
    assert browser.value("document.querySelectorAll('rect.bar').length") == 7
    cells = "[...document.querySelectorAll('rect.cell')].map(c => c.textContent)"
    assert f"{EVIL} predicted as background: 1 objects, 33.33 %" in browser.value(cells)
    assert len(browser.value(cells)) == 5
    assert browser.value("document.querySelectorAll('img').length") == 4
    rows = "[...document.querySelectorAll('#classes tbody tr')].map(r => r.textContent)"
    assert browser.value(rows) == [f"{EVIL}30.25", "cat5-", "coco/bbox_mAP0.5"]


def test_axes_smoothing_and_scale_follow_the_address(one, browser):
    browser.open(one)
    plain = path_of(browser, "Loss, total")
    axis = f"[...{chart('Loss, total')}.querySelectorAll('svg.plot text')].map(t => t.textContent)"
    assert "iteration" in browser.value(axis) and "300" in browser.value(axis)
    browser.open(one, "#x=epoch&smooth=0.9&log=1")
    assert "epoch" in browser.value(axis) and "3" in browser.value(axis)
    smooth = path_of(browser, "Loss, total")
    assert [x for x, _ in smooth] == [x for x, _ in plain]
    assert len({y for _, y in smooth[5:]}) == 10  # falls slowly, where the loss fell at once
    assert len(path_of(browser, "Loss, total", "raw")) == 15
    assert browser.value("document.querySelector('[name=smooth]').value") == "0.9"
    assert browser.value("document.querySelector('[name=log]').checked") is True
    browser.open(one, "#x=time")
    assert "training time (min)" in browser.value(axis)
    assert path_of(browser, "Loss, total")[-1][0] == pytest.approx(plain[-1][0], abs=0.2)


def test_controls_and_legends_change_the_charts_and_the_address(one, browser):
    browser.open(one)
    curves = "document.querySelectorAll('path.curve').length"
    before = browser.value(curves)
    click_legend(browser, "loss_cls")
    assert browser.value(curves) == before - 1
    assert "hide=loss_cls" in browser.value("location.hash")
    click_legend(browser, "loss_cls")
    assert browser.value(curves) == before
    browser.value(
        "{const s = document.querySelector('[name=x]'); s.value = 'epoch';"
        "s.dispatchEvent(new Event('change'))}"
    )
    assert "x=epoch" in browser.value("location.hash") and browser.errors == []


def test_tooltip_and_table_tell_the_figures(one, browser):
    browser.open(one)
    browser.value(f"{chart('Loss, total')}.scrollIntoView()")
    left, top, width = browser.value(
        f"(r => [r.left, r.top, r.width])({chart('Loss, total')}.querySelector('.chart')"
        ".getBoundingClientRect())"
    )
    browser.send(
        "Input.dispatchMouseEvent",
        type="mouseMoved",
        x=left + width - 15,
        y=top + 60,
        button="none",
    )
    tip = browser.value(f"{chart('Loss, total')}.querySelector('.tooltip').textContent")
    assert tip == "iteration300loss1"
    browser.value(f"{chart('Loss, total')}.querySelector('details').open = true")
    browser.value("new Promise(done => setTimeout(done, 50))")
    rows = browser.value(f"{chart('Loss, total')}.querySelectorAll('tbody tr').length")
    assert rows == 15


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("pages", ["one", "two"])
def test_nothing_is_wider_than_the_window(pages, width, scheme, browser, request):
    browser.size(width)
    browser.scheme(scheme)
    browser.open(request.getfixturevalue(pages))
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.errors == []
    ink = browser.value("getComputedStyle(document.querySelector('path.curve')).stroke")
    assert ink == ("rgb(0, 114, 178)" if scheme == "light" else "rgb(86, 180, 233)")


def test_several_runs_are_compared(two, browser):
    browser.open(two)
    legend = (
        f"[...{chart('Loss, total')}.querySelectorAll('.legend button')].map(b => b.textContent)"
    )
    assert browser.value(legend) == ["first", "second"]
    assert browser.value(f"{chart('Loss, total')}.querySelectorAll('path.curve').length") == 2
    rows = browser.value(
        "[...document.querySelectorAll('#config-differences tbody tr')].map(r => "
        "[...r.cells].map(c => c.textContent))"
    )
    assert rows == [["optim_wrapper.optimizer.lr", "0.0002", "0.001"]]
    best = browser.value(
        "[...document.querySelectorAll('#best-figures tbody td')].map(c => c.textContent)"
    )
    assert best == ["0.75 at 300", "0.85 at 300"]
    click_legend(browser, "second")
    assert browser.value(f"{chart('Loss, total')}.querySelectorAll('path.curve').length") == 1


def test_without_an_evaluation_the_page_says_how_to_get_one(two):
    content = two.read_text(encoding="utf-8")
    for section in ("Confusion", "Pictures"):
        assert content.count(f"<h2>{section}</h2>") == 1
    assert content.count("mmconvnext report WORK_DIR --evaluate") == 4


def test_long_runs_stay_small_and_a_diverged_loss_leaves_a_gap(tmp_path, browser):
    entries = [training(step) for step in range(1, 20001)]
    write_start(tmp_path / "run", "20260131_120000", [*entries, training(20001, loss=float("nan"))])
    (run,) = read_runs([tmp_path / "run"])
    path = tmp_path / "long.html"
    path.write_text(build_page([run], [None]), encoding="utf-8")
    assert path.stat().st_size < 500_000
    browser.open(path)
    assert browser.errors == [] and 1000 < len(path_of(browser, "Loss, total")) <= 1500
    assert browser.value("DATA.runs[0].elapsed.at(-1)") == [20001, 10000.5]
    browser.open(path, "#x=time")
    assert browser.value("place(DATA.runs[0], 7200)") == pytest.approx(1.0)  # hours: 0.5 s each


def test_an_evaluation_is_kept_and_another_file_is_named(tmp_path):
    made = made_up_evaluation()
    assert load_evaluation(tmp_path) is None
    (tmp_path / FILE).write_text(made.to_json())
    assert load_evaluation(tmp_path) == made
    wrong = dataclasses.replace(made, confusion=[[1]])
    for content in ("{", "[]", '{"best": [], "worst": []}', wrong.to_json()):
        (tmp_path / FILE).write_text(content)
        with pytest.raises(ValueError, match="delete the file or evaluate again"):
            load_evaluation(tmp_path)


def test_a_kept_picture_that_is_none_gets_no_place_in_the_page(tmp_path):
    (run,) = read_runs([write_run(tmp_path / "run")])
    foreign = Shown("a.jpg", 1.0, "https://example.org/a.jpg", "x")
    found = dataclasses.replace(made_up_evaluation(), best=[foreign])
    with pytest.raises(ValueError, match="expected a JPEG's data URI"):
        build_page([run], [found])
