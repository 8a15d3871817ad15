from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mmconvnext.data.statistics import Statistics
from mmconvnext.visualization.data_page import data_page

EVIL = "<script>window.harmed = 1</script>"


@pytest.fixture
def page(tmp_path):
    found = Statistics(
        (EVIL, "dog"),
        pictures=3,
        used=2,
        empty=1,
        objects={0: Counter(small=2), 1: Counter(large=1)},
        holding=Counter({0: 1, 1: 1}),
        shapes=[(640, 480)] * 3,
    )
    picture = np.zeros((48, 64, 3), np.uint8)
    samples = [[(f"{EVIL}.png", picture), ("b.png", picture)], [("c.png", picture)]]
    path = tmp_path / "page.html"
    path.write_text(data_page("data", EVIL, samples, found), encoding="utf-8")
    return path


def test_the_page_works_in_a_browser_and_names_stay_text(page, browser) -> None:
    browser.open(page)
    assert browser.errors == [] and browser.requests == [page.as_uri()]
    assert browser.value("window.harmed") is None
    assert browser.value("document.querySelectorAll('.gallery > .pair img').length") == 2
    assert browser.value("document.querySelectorAll('.gallery img').length") == 3
    row = browser.value("document.querySelector('tbody tr').innerText")
    assert row.split("\t") == [EVIL, "2", "66.67", "1", "2", "0", "0"]
    assert "the data set's filters leave 2" in browser.value("document.body.innerText")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(page, browser, scheme) -> None:
    browser.scheme(scheme)
    browser.size(390)
    browser.open(page)
    assert browser.value("document.documentElement.scrollWidth") <= 390
