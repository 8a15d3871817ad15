"""Runs the commands and scripts of the pages in docs/, each page from its first line to its last in
a folder of its own, and compares what they print with what the page shows: the words, not the
numbers.

    docs/check_pages.py [PAGE…] [--data DIR]    DIR: holds tiny_coco and tiny_ade, for first_run.md
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDS_DATA = "needs COCO or ADE20K, and long; tests/cli/test_backbone_option.py trains the like"
NEEDS_GPUS_FOR_DAYS = "needs COCO and GPUs for days; tests/cli/test_road_command.py runs the same"
DEMO = "from mmconvnext.cli.demo import main; raise SystemExit(main([]))"
NEEDS_GPUS = "needs GPUs, and COCO or ADE20K; tests/docs/test_many_gpus.py reads them"


@dataclass
class Plan:
    """How a page is tried.

    Args:
        untried: why a block is left out, by the beginning of its first command.
        files: names that the page's Python blocks are saved under, in order; those that import
            something first are no configs and are run.
        instead: what stands for the page's placeholders.
        before: a Python script that makes what the page takes for granted.
        photos: whether it takes the photos that --data names.
    """

    untried: dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    instead: dict[str, str] = field(default_factory=dict)
    before: str = ""
    photos: bool = False


PLANS = {
    "checkpoints.md": Plan(
        instead={"SRC": "made.pth", "DST": "written"},
        before="import torch, mmconvnext\n"
        "torch.save(mmconvnext.ConvNeXt('atto').state_dict(), 'made.pth')",
    ),
    "custom_data.md": Plan(
        untried={
            "mmconvnext train shapes.py --auto-scale-lr": "2,000 iterations and a download of "
            "weights; tests/docs/test_custom_data.py runs the same with small networks"
        },
        files=("shapes.py", "masks.py"),
    ),
    "data.md": Plan(untried={"mmconvnext prepare-data": "downloads COCO and ADE20K"}),
    "docker.md": Plan(
        untried={"docker ": "needs Docker; tests/test_docker.py reads the Dockerfile"}
    ),
    "existing_configs.md": Plan(
        untried={"tools/train.py mmdet::": NEEDS_DATA, "tools/train.py mmseg::": NEEDS_DATA}
    ),
    "export.md": Plan(
        untried={"pip install": "changes the environment"},
        before="import shutil\nfrom mmconvnext.cli.demo import main\n"
        "from mmconvnext.export import runner\n"
        "shutil.copy(runner.__file__, 'runner.py')\nraise SystemExit(main([]))",
    ),
    "fast.md": Plan(
        untried={
            "tools/test.py CONFIG": "needs a trained model; tests/cli/test_test_command.py runs it"
        }
    ),
    "predict.md": Plan(before=DEMO),
    "predict_many.md": Plan(
        untried={
            "# on the head": "needs a Ray cluster; tests/cli/test_predict_many_ray.py starts one",
            "# on each machine": "needs two machines; tests/cli/test_predict_many_torchrun.py "
            "starts two processes",
        },
        before=DEMO,
    ),
    "pretraining.md": Plan(
        untried={"mmconvnext train mmconvnext::pretrain": "needs ImageNet, and 32 GPUs for days"}
    ),
    "road.md": Plan(untried={"mmconvnext road configs/road": NEEDS_GPUS_FOR_DAYS}),
    "report.md": Plan(
        untried={
            "mmconvnext report": "needs finished runs; tests/cli/test_report_command.py makes some"
        }
    ),
    "scale.md": Plan(untried={"# 64 GPUs": "needs 64 GPUs, and COCO"}),
    "troubleshooting.md": Plan(
        untried={
            "mmconvnext browse-data": "needs photos; tests/cli/test_browse_data.py paints some"
        }
    ),
    "first_run.md": Plan(files=("my_mask_rcnn.py",), photos=True),
    "many_gpus.md": Plan(untried={"# one machine": NEEDS_GPUS, "# epochs, and with": NEEDS_GPUS}),
    "other_packages.md": Plan(
        untried={"mmconvnext adapt mmdet3d::": "needs mmdet3d, mmrotate and mmpose"}
    ),
}


@dataclass(frozen=True)
class Block:
    """Commands of a page, and the output that it shows below them, empty if none; or a script."""

    commands: str
    shown: str
    python: bool = False

    @property
    def first(self) -> str:
        """The line by which a plan knows it."""
        return self.commands.splitlines()[0]


def pages() -> list[Path]:
    """The pages that have commands."""
    return [page for page in sorted((ROOT / "docs").glob("*.md")) if list(blocks(page))]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of commands and the scripts, in order."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M)
    for number, (language, text) in enumerate(fences):
        script = language == "python" and re.match(r"(import|from) ", text) is not None
        if language == "sh" or script:
            following, shown = fences[number + 1] if number + 1 < len(fences) else ("-", "")
            yield Block(text, "" if following else shown, script)


def reason_against(plan: Plan, block: Block) -> str:
    """Why ``block`` is not tried; empty if it is."""
    return next((why for start, why in plan.untried.items() if block.first.startswith(start)), "")


def missing_from(printed: str, shown: str) -> list[str]:
    """The lines of ``shown`` that no line of ``printed`` resembles: all words of one in order,
    whatever numbers, paths and further words there are."""
    lines = printed.splitlines()
    return [
        line
        for line in shown.splitlines()
        if (words := _words(line)) and not any(_in_order(words, other) for other in lines)
    ]


def _words(line: str) -> list[str]:
    if "━━" in line:  # a bar, which only a terminal sees, or a table's edge
        return []
    known = [word for word in line.split() if "…" not in word and word not in "[]│|"]
    return [word for word in known if not re.fullmatch(r"[\[\]()\d.,:/e+-]+", word)]


def _in_order(words: list[str], line: str) -> bool:
    return re.search(".*".join(map(re.escape, words)), line) is not None


def try_page(page: Path, data: Path | None) -> list[str]:
    """Run the page's blocks; returns what was wrong."""
    plan, wrong = PLANS.get(page.name, Plan()), []
    if plan.photos and data is None:
        print(f"{page.name}: not tried: --data names no folder with the photos", flush=True)
        return []
    with tempfile.TemporaryDirectory(prefix="docs_") as folder:
        prepare(Path(folder), page, plan, data)
        for block in blocks(page):
            if why := reason_against(plan, block):
                print(f"{page.name}: {block.first[:60]}: not tried: {why}", flush=True)
                continue
            started = time.monotonic()
            done = run(block, Path(folder), plan)
            printed = done.stdout + done.stderr
            if done.returncode:
                wrong.append(
                    f"{page.name}: {block.first}: status {done.returncode}\n{printed[-2000:]}"
                )
                break  # what follows builds on it
            wrong += [
                f"{page.name}: {block.first}: nothing printed is like: {line}"
                for line in missing_from(printed, block.shown)
            ]
            print(
                f"{page.name}: {block.first[:60]}: {time.monotonic() - started:.0f} s", flush=True
            )
    return wrong


def prepare(folder: Path, page: Path, plan: Plan, data: Path | None) -> None:
    """Lay in ``folder`` what the page takes for granted."""
    for name in ("tools", "configs"):
        (folder / name).symlink_to(ROOT / name)
    if plan.photos and data is not None:
        (folder / "data").symlink_to(data.resolve())
    texts = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.S | re.M)
    for name, text in zip(plan.files, texts, strict=False):
        (folder / name).write_text(text, encoding="utf-8")
    if plan.before:
        subprocess.run(
            [sys.executable, "-c", plan.before], cwd=folder, check=True, env=surroundings()
        )


def run(block: Block, folder: Path, plan: Plan) -> subprocess.CompletedProcess[str]:
    """Run a block's commands in one shell, which stops at the first that fails; or the script."""
    commands = block.commands
    for placeholder, value in plan.instead.items():
        commands = re.sub(rf"\b{placeholder}\b", value, commands)
    shell = [sys.executable] if block.python else ["bash", "-euo", "pipefail"]
    return subprocess.run(
        [*shell, "-c", commands],
        cwd=folder,
        env=surroundings(),
        capture_output=True,
        text=True,
        check=False,
    )


def surroundings() -> dict[str, str]:
    """The environment, with this interpreter's commands first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}


def main() -> int:
    """Try the pages; returns 0, or 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="only these")
    parser.add_argument("--data", type=Path, metavar="DIR", help="holds tiny_coco and tiny_ade")
    args = parser.parse_args()
    wrong = [line for page in args.pages or pages() for line in try_page(page, args.data)]
    print("\n".join(wrong) or "every command that was tried does what its page says")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
