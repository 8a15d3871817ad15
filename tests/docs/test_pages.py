"""What every page has in common: `make docs-check` knows its commands, and the commands know their
options; links lead somewhere; docs/api.md is what the docstrings say."""

from __future__ import annotations

import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mmconvnext.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import check_pages  # noqa: E402
import make_api  # noqa: E402

PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def commands_of(page: Path) -> list[str]:
    """The lines of the page's shell blocks that start a command of this package."""
    text = "\n".join(block.commands for block in check_pages.blocks(page)).replace("\\\n", " ")
    return [
        line
        for line in text.splitlines()
        if re.match(r"(mmconvnext [a-z]|(python \S*)?tools/\w+\.py |torchrun .*tools/)", line)
    ]


COMMAND_LINES = [
    pytest.param(line, id=f"{page.name}-{number}")
    for page in TEXTS
    for number, line in enumerate(commands_of(page))
]


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_each_command_takes_the_options_that_a_page_gives_it(line):
    words = shlex.split(line, comments=True)
    if "=" in words:  # "= python tools/…": the same in other words
        words = words[: words.index("=")]
    start = next(n for n, word in enumerate(words) if re.search(r"(^|/)tools/|^mmconvnext$", word))
    tool = Path(words[start])
    name = words[start + 1] if tool.name == "mmconvnext" else tool.stem.replace("_", "-")
    rest = words[start + 2 :] if tool.name == "mmconvnext" else words[start + 1 :]
    if "-h" in rest:
        return
    args = import_module(COMMANDS[name][0]).parser().parse_args(rest)
    config = getattr(args, "config", "")
    if isinstance(config, str) and config.startswith(("configs/", "mmconvnext::")):
        path = ROOT / "configs" / config.replace("mmconvnext::", "configs/").partition("/")[2]
        assert path.is_file(), config


@pytest.mark.parametrize("page", check_pages.PLANS)
def test_a_plan_names_blocks_that_the_page_has(page):
    plan = check_pages.PLANS[page]
    found = list(check_pages.blocks(ROOT / "docs" / page))
    for start in plan.untried:
        assert any(block.first.startswith(start) for block in found), start
    text = (ROOT / "docs" / page).read_text()
    assert all(word in text for word in (*plan.instead, *plan.files))


def test_a_block_is_its_commands_and_the_output_below(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\na\nb\n```\nso:\n```\nout 1\n```\n```sh\nc\n```\n```python\nx = 1\n```\n"
    )
    assert list(check_pages.blocks(page)) == [
        check_pages.Block("a\nb\n", "out 1\n"),
        check_pages.Block("c\n", ""),
    ]


@pytest.mark.parametrize(
    ("shown", "fits"),
    [
        ("Iter(train) [ 2/20]  lr: 4.1e-06  time: 7.4286  loss: 9.5196", True),
        ("Iter(val) [ 2/20]  lr: 4.1e-06", False),
        ("loss: 9.5196  lr: 4.1e-06", False),  # another order
        ("mmconvnext: done: …/work_dirs/x", True),
        ("│ mIoU   │  0.52 │", True),
        ("│ mAcc   │  0.52 │", False),
        ("train ━━━━━━━━ 100/100", True),  # drawn on terminals only
    ],
)
def test_output_is_compared_in_kind(shown, fits):
    printed = (
        "11/24 10:00:00 - mmengine - INFO - Iter(train) [ 4/20]  base_lr: 1e-4 lr: 1.1e-05  "
        "eta: 0:01  time: 1.2  data_time: 0.1  loss: 3.1  loss_cls: 2.0\n"
        "mmconvnext: done: /runs/x\n│ mIoU │ 12.1 │\n"
    )
    assert (check_pages.missing_from(printed, shown) == []) is fits


def test_a_page_is_run_line_by_line_and_what_differs_is_said(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text(
        '```python\nvalue = 1\n```\n```sh\nV=$(cat mine.py)\necho "kept: $V"\n```\n'
        "```\nkept: value = 2\nlost: 3\n```\n```sh\n# long\nfalse\n```\n```sh\nfalse\n```\n"
    )
    plan = check_pages.Plan(untried={"# long": "too long"}, files=("mine.py",))
    monkeypatch.setitem(check_pages.PLANS, "page.md", plan)
    lost, failed = check_pages.try_page(page, None)
    assert lost.endswith("nothing printed is like: lost: 3")
    assert failed.startswith("page.md: false: status 1")
    assert "# long: not tried: too long" in capsys.readouterr().out


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_and_named_files_are_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http|#)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    if page.name in ("CONTRIBUTING.md", "how_it_is_built.md"):
        named = re.findall(
            r"`((?:mmconvnext|tests|configs|docs|tools|requirements)/[\w./-]+)`", text
        )
        assert len(named) > 10
        for name in named:
            assert "NAME" in name or (ROOT / name).exists(), name


def test_the_makefile_has_the_goals_that_a_contributor_is_told():
    goals = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text(), re.M))
    assert {"lint", "test", "docs-check", "api"} <= named <= goals


def test_the_api_page_is_what_the_docstrings_say():
    assert make_api.page() == make_api.PAGE.read_text(encoding="utf-8"), "`make api` writes it"


def sample(first, /, second: dict[str, int] = {}, *rest: int, only: str = "x", **more) -> int:  # noqa: B006
    """Does ``this``, see :func:`page`.

    Args:
        first: one
            and more.
        *rest: others.

    Raises:
        ValueError: wrong.
    """
    return 0


class Sample:
    """A class."""

    def __init__(self, size: int = 3) -> None:
        self.size = size

    def grow(self) -> None:
        """Grow."""


def test_an_entry_has_signature_and_sections():
    text = make_api.entry("sample", sample)
    call = "sample(first, second: dict[str, int] = {}, *rest: int, only: str = 'x', **more) -> int"
    assert f"```python\n{call}\n```" in text
    assert "Does `this`, see `page`." in text
    assert "**Args**\n\n- `first`: one\n  and more.\n- `*rest`: others.\n" in text
    assert "**Raises**\n\n- `ValueError`: wrong." in text
    assert "Sample(size: int = 3)" in (grown := make_api.entry("Sample", Sample))
    assert "- `grow`: Grow." in grown
