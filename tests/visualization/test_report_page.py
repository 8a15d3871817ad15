from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from mmconvnext.visualization.report.page import (
    Section,
    encode_picture,
    figure,
    folded,
    gallery,
    page,
    preformatted,
    table,
)

EVIL = "<script>window.harmed = 1</script><img src=x onerror='window.harmed = 2'>\"'&"


@pytest.fixture
def sample(tmp_path):
    """A page with everything in it, and hostile text everywhere."""
    rows = [[f"class {n} {EVIL}", (n * 7) % 5, float("nan") if n == 2 else n / 4] for n in range(5)]
    body = table(["class", "count", EVIL], rows, caption=EVIL, sortable=True, filterable=True)
    body += folded(EVIL, preformatted(f"lr = 0.1\n{EVIL}\nlr = 0.2"), searchable=True)
    body += gallery([figure(np.zeros((20, 900, 3), np.uint8), alt=EVIL, caption=EVIL)])
    data = {"name": f"{EVIL}<!--<script>\u2028"}
    sections = [Section("First & one", body), Section("Empty", "")]
    path = tmp_path / "page.html"
    path.write_text(page(EVIL, sections, subtitle=EVIL, data=data), encoding="utf-8")
    return path


def test_hostile_text_stays_text(sample, browser):
    browser.open(sample)
    assert browser.value("window.harmed") is None
    assert browser.errors == [] and browser.requests == [sample.as_uri()]
    assert browser.value("document.title") == EVIL
    assert browser.value("document.querySelector('h1').textContent") == EVIL
    assert browser.value("document.querySelector('img').alt") == EVIL
    data = browser.value("document.getElementById('data').textContent")
    assert json.loads(data)["name"] == f"{EVIL}<!--<script>\u2028"
    assert browser.value("document.querySelectorAll('script').length") == 2


def test_a_script_that_slips_in_does_not_run(sample, browser):
    content = sample.read_text(encoding="utf-8")
    sample.write_text(content.replace("</main>", "<script>window.harmed = 1</script></main>"))
    browser.open(sample)
    assert browser.value("window.harmed") is None
    assert any("Content Security Policy" in error for error in browser.errors)


def test_tables_sort_by_value_and_filter(sample, browser):
    browser.open(sample)
    column = "[...document.querySelectorAll('tbody tr')].map(r => r.cells[%d].textContent)"
    press = "document.querySelectorAll('th button')[%d].click()"
    browser.value(press % 2)
    assert browser.value(column % 2) == ["1", "0.75", "0.25", "0", "-"]
    browser.value(press % 2)
    assert browser.value(column % 2) == ["0", "0.25", "0.75", "1", "-"]
    assert browser.value("document.querySelectorAll('th')[2].ariaSort") == "ascending"
    browser.value(
        "{const f = document.querySelector('input'); f.value = 'CLASS 3';"
        "f.dispatchEvent(new Event('input'))}"
    )
    shown = "[...document.querySelectorAll('tbody tr')].filter(r => !r.hidden).length"
    assert browser.value(shown) == 1


def test_text_is_searched(sample, browser):
    browser.open(sample)
    browser.value(
        "{document.querySelector('details').open = true;"
        "const f = document.querySelector('details input'); f.value = 'LR =';"
        "f.dispatchEvent(new Event('input'))}"
    )
    assert browser.value("document.querySelectorAll('mark').length") == 2
    assert browser.value("document.querySelector('details .soft').textContent") == " 1 of 2"
    assert EVIL in browser.value("document.querySelector('pre').textContent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone_in_either_scheme(scheme, sample, browser):
    browser.size(360)
    browser.scheme(scheme)
    browser.open(sample)
    assert browser.value("document.documentElement.scrollWidth") <= 360
    lightness = (
        "getComputedStyle(document.body)['%s'].match(/\\d+/g).slice(0, 3)"
        ".reduce((sum, part) => sum + Number(part), 0) / 3"
    )
    back, ink = (browser.value(lightness % name) for name in ("backgroundColor", "color"))
    assert (back > 200 and ink < 60) if scheme == "light" else (back < 60 and ink > 200)


def test_pictures_are_bounded_and_nothing_else_passes_for_one():
    uri = encode_picture(np.full((50, 2000, 3), (200, 30, 60), np.uint8))
    content = base64.b64decode(uri.partition(",")[2])
    with Image.open(io.BytesIO(content)) as image:
        assert (image.format, image.size) == ("JPEG", (640, 16))
        assert np.abs(np.asarray(image, int)[5, 5] - (200, 30, 60)).max() < 6
    for foreign in (
        "https://example.org/x.jpg",
        f'{uri}" onerror="x',
        "data:text/html;base64,AAAA",
    ):
        with pytest.raises(ValueError, match="expected a JPEG's data URI"):
            figure(foreign, alt="")
