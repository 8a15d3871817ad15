"""What every page has in common: `make docs-check` knows its commands, and the commands know their
options; links lead somewhere; docs/api.md is what the docstrings say."""

from __future__ import annotations

import json
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope

from mmconvnext.benchmarks.record import Record
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
        "```python\nfrom a import b\n```\n```\nout 2\n```\n"
    )
    assert list(check_pages.blocks(page)) == [
        check_pages.Block("a\nb\n", "out 1\n"),
        check_pages.Block("c\n", ""),
        check_pages.Block("from a import b\n", "out 2\n", python=True),
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
        ("['cat'] (3, 96, 96)", True),
        ("['dog'] (3, 96, 96)", False),
    ],
)
def test_output_is_compared_in_kind(shown, fits):
    printed = (
        "11/24 10:00:00 - mmengine - INFO - Iter(train) [ 4/20]  base_lr: 1e-4 lr: 1.1e-05  "
        "eta: 0:01  time: 1.2  data_time: 0.1  loss: 3.1  loss_cls: 2.0\n"
        "mmconvnext: done: /runs/x\n│ mIoU │ 12.1 │\n['cat'] (4, 48, 96)\n"
    )
    assert (check_pages.missing_from(printed, shown) == []) is fits


def test_a_page_is_run_line_by_line_and_what_differs_is_said(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text(
        '```python\nvalue = 1\n```\n```sh\nV=$(cat mine.py)\necho "kept: $V"\n```\n'
        "```\nkept: value = 2\nlost: 3\n```\n```sh\n# long\nfalse\n```\n"
        "```python\nimport mine\nprint('found', mine.value)\n```\n```\nfound 1\nbut not this\n```\n"
        "```sh\nfalse\n```\n"
    )
    plan = check_pages.Plan(untried={"# long": "too long"}, files=("mine.py",))
    monkeypatch.setitem(check_pages.PLANS, "page.md", plan)
    lost, unsaid, failed = check_pages.try_page(page, None)
    assert lost.endswith("nothing printed is like: lost: 3")
    assert unsaid.endswith("import mine: nothing printed is like: but not this")
    assert failed.startswith("page.md: false: status 1")
    assert "# long: not tried: too long" in capsys.readouterr().out


def snippet(page: str, number: int) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.S)[number]


@pytest.mark.parametrize(
    "more",
    [("docs/troubleshooting.md", 0), ("docs/other_packages.md", 3)],
    ids=lambda more: more[0],
)
def test_lines_for_a_config_do_what_is_said(more, tmp_path):
    """README's and those of layer-wise decay, below a config of mmdet."""
    pytest.importorskip("mmdet")
    base = '_base_ = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"\n'
    file = tmp_path / "mine.py"
    file.write_text(base + snippet("README.md", 0) + snippet(*more) + snippet("docs/console.md", 0))
    cfg = Config.fromfile(file)
    assert cfg.custom_hooks == [dict(type="mmconvnext.ProgressBarHook")]
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(cfg.model)
        maps = model.extract_feat(torch.zeros(1, 3, 64, 64))
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    assert [tuple(m.shape) for m in maps] == [(1, 256, n, n) for n in (16, 8, 4, 2, 1)]
    highest = cfg.optim_wrapper.optimizer.lr
    assert min(group["lr"] for group in groups) == pytest.approx(highest * 0.7**7)
    assert max(group["lr"] for group in groups) == highest


def test_the_reports_lines_add_tensorboard_to_a_recipe(tmp_path):
    file = tmp_path / "mine.py"
    base = '_base_ = "mmconvnext::segmentation/upernet_convnext_t_ade20k_512.py"\n'
    found = []
    for lines in ("", 'vis_backends = [dict(type="Other")]\n', snippet("docs/report.md", 0)):
        file.write_text(base + lines)
        visualizer = Config.fromfile(file).visualizer
        assert visualizer.type == "SegLocalVisualizer"
        found.append([backend.type for backend in visualizer.vis_backends])
    assert found[0] == found[1] == ["LocalVisBackend"]
    assert found[2] == ["LocalVisBackend", "TensorboardVisBackend"]


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


def test_the_performance_page_is_what_was_measured():
    measured = ROOT / "docs" / "performance.json"
    found = json.loads(measured.read_text(encoding="utf-8"))
    record = Record(found["machine"], found["versions"], found["rounds"])
    record.go_on(measured)
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert "\n".join(record.page()) + "\n" == page, "`make bench` writes both"
    assert record.as_json() == measured.read_text(encoding="utf-8")


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
