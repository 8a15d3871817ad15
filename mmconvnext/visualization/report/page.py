"""The shell of a self-contained HTML page: style, dark mode, tables, pictures, embedded data.

The page asks the network for nothing, and its policy forbids it: only the scripts embedded here
run, known by their hash, so that text which escaped the escaping still could not.

::

    body = table(["class", "count"], [["dog", 3]], caption="Objects") + figure(picture, alt="dog")
    html = page("Data", [Section("Classes", body)])
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from mmconvnext.version import __version__

LARGEST_SIDE = 640
QUALITY = 80
_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; script-src "
)
_DATA_URI = re.compile(r"data:image/(?:jpeg|png);base64,[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True)
class Section:
    """A part of the page with an entry in its table of contents.

    Args:
        title: plain text.
        body: HTML, escaped already: from the functions below and :func:`text`.
    """

    title: str
    body: str

    @property
    def anchor(self) -> str:
        """The section's id in the page."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def page(
    title: str,
    sections: Sequence[Section],
    *,
    subtitle: str = "",
    data: Mapping[str, Any] | None = None,
    scripts: Sequence[str] = (),
) -> str:
    """A whole HTML document.

    Args:
        title: plain text, of the window and the heading.
        sections: in their order; those with an empty body are left out.
        subtitle: plain text below the heading.
        data: what the scripts read: ``JSON.parse(document.getElementById("data").textContent)``.
        scripts: names of scripts beside this module, run after ``page.js``.
    """
    sections = [section for section in sections if section.body]
    links = "".join(
        f'<li><a href="#{section.anchor}">{text(section.title)}</a></li>' for section in sections
    )
    parts = "\n".join(
        f'<section id="{section.anchor}"><h2>{text(section.title)}</h2>\n{section.body}\n</section>'
        for section in sections
    )
    sources = [asset(name) for name in ("page.js", *scripts)]
    policy = _POLICY + " ".join(f"'sha256-{_digest(source)}'" for source in sources)
    below = f"<p>{text(subtitle)}</p>" if subtitle else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(title)}</title>
<style>{asset("page.css")}</style>
</head>
<body>
<header><h1>{text(title)}</h1>{below}</header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main>
{parts}
</main>
<footer>Made by mmconvnext {text(__version__)}.</footer>
{_data_block(data or {})}
{"".join(f"<script>{source}</script>" for source in sources)}
</body>
</html>
"""


def text(value: object) -> str:
    """``value`` as HTML text or attribute, with everything that HTML would read escaped."""
    return html.escape(str(value), quote=True)


def asset(name: str) -> str:
    """A style sheet or script of this package."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    caption: str,
    sortable: bool = False,
    filterable: bool = False,
) -> str:
    """A table; numbers are right-aligned and sorted by value, NaN and None are shown as a dash.

    Args:
        columns: headings.
        rows: cells, plain values; each row as long as ``columns``. The first is the row's heading.
        caption: what the table holds.
        sortable: a click on a heading sorts by it.
        filterable: with a field that keeps the rows which contain what is typed.
    """
    heads = "".join(f'<th scope="col">{text(column)}</th>' for column in columns)
    body = "".join(
        f"<tr>{_cell(row[0], head=True)}{''.join(map(_cell, row[1:]))}</tr>" for row in rows
    )
    marks = ("data-sortable " if sortable else "") + ("data-filterable" if filterable else "")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}">'
        f"<table {marks}><caption>{text(caption)}</caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(value: Any, head: bool = False) -> str:
    tag, scope = ("th", ' scope="row"') if head else ("td", "")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        shown = number(value)
        order = "" if shown == "-" else f' data-value="{value}"'
        return f'<{tag}{scope} class="number"{order}>{shown}</{tag}>'
    return f"<{tag}{scope}>{'-' if value is None else text(value)}</{tag}>"


def number(value: float) -> str:
    """``value`` with four significant digits, whole numbers whole; NaN and infinity as a dash."""
    if not math.isfinite(value):
        return "-"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def note(message: str) -> str:
    """A line that says what is missing and how to get it."""
    return f'<p class="note">{text(message)}</p>'


def folded(title: str, body: str, *, searchable: bool = False) -> str:
    """HTML that is shown when ``title`` is clicked; of text, with a field that marks what is
    typed."""
    mark = " data-searchable" if searchable else ""
    return f"<details{mark}><summary>{text(title)}</summary>{body}</details>"


def preformatted(content: str) -> str:
    """Text as it is, in a fixed-width font."""
    return f'<pre class="scroll" tabindex="0">{text(content)}</pre>'


def encode_picture(picture: np.ndarray, *, side: int = LARGEST_SIDE) -> str:
    """A uint8 RGB picture ``(h, w, 3)`` as the data URI of a JPEG, shrunk to ``side`` pixels."""
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((side, side))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def figure(picture: np.ndarray | str, *, alt: str, caption: str = "") -> str:
    """A picture with a line below it.

    Args:
        picture: uint8 RGB ``(h, w, 3)``, or what :func:`encode_picture` made of one.
        alt: what it shows, for who does not see it.
        caption: plain text.

    Raises:
        ValueError: a string that is no picture's data URI.
    """
    uri = picture if isinstance(picture, str) else encode_picture(picture)
    if not _DATA_URI.fullmatch(uri):
        raise ValueError(f"picture {caption!r}: expected a JPEG's data URI, found {uri[:40]!r}")
    below = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{uri}" alt="{text(alt)}">{below}</figure>'


def gallery(figures: Sequence[str]) -> str:
    """Figures, or pairs of them, side by side, as many as fit."""
    return f'<div class="gallery">{"".join(figures)}</div>'


def pair(first: str, second: str) -> str:
    """Two figures that stay beside each other."""
    return f'<div class="pair">{first}{second}</div>'


def _data_block(data: Mapping[str, Any]) -> str:
    content = json.dumps(data, separators=(",", ":"), allow_nan=False)
    # '</script>' or '<!--' in a class name must not end the block.
    content = content.replace("<", "\\u003c").replace("\u2028", "\\u2028")
    return f'<script type="application/json" id="data">{content}</script>'


def _digest(source: str) -> str:
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
