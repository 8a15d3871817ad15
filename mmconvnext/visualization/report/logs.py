"""What mmengine's text log of a run tells beyond the curves."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

COMMAND = "Command line: "  # how the train command's line in the log begins; mmengine has none
_STAMP = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d - ")
_EPOCH = re.compile(r"Epoch\(train\)\s+\[\s*\d+\]\[\s*\d+/(\d+)\]")
_RESUMED = re.compile(r"resumed epoch: \d+, iter: (\d+)")
_COMMAND = re.compile(rf" - INFO - {COMMAND}(.+)")
_RULE = "-" * 20


@dataclass
class LogFacts:
    """What one log told.

    Args:
        environment: mmengine's description of machine and versions.
        command: what the run was started with, if this package's command started it.
        iters_per_epoch: batches in an epoch, where training goes by epochs.
        resumed_at: iterations that an earlier run had done.
        class_columns: names of the figures in ``classes``, such as ``('IoU', 'Acc')``.
        classes: of the last evaluation; class name -> figures in per cent.
    """

    environment: str = ""
    command: str = ""
    iters_per_epoch: int | None = None
    resumed_at: int | None = None
    class_columns: tuple[str, ...] = ()
    classes: dict[str, tuple[float, ...]] = field(default_factory=dict)


def read_log(path: Path) -> LogFacts:
    """The facts in a log; those of a file that is cut off as far as it goes.

    Raises:
        OSError: it cannot be read.
    """
    facts = LogFacts()
    block: list[str] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for raw in lines:
            line = raw.rstrip("\n")
            if _STAMP.match(line):
                _take_block(facts, block)
                block = [line]
            else:
                block.append(line)
    _take_block(facts, block)
    return facts


def _take_block(facts: LogFacts, block: list[str]) -> None:
    """A message with the lines that follow it."""
    if not block:
        return
    head = block[0]
    if found := _EPOCH.search(head):
        facts.iters_per_epoch = int(found.group(1))
    elif found := _COMMAND.search(head):
        facts.command = found.group(1)
    elif found := _RESUMED.search(head):
        facts.resumed_at = int(found.group(1))
    elif len(block) > 2 and block[1].startswith(_RULE) and "System environment:" in block[2]:
        ruled = (line for line in block[2:] if not line.startswith(_RULE))
        facts.environment = "\n".join(ruled).strip()
    elif len(block) > 3 and re.match(r"\|\s*Class\s*\|", block[2]):
        _take_classes(facts, block[2:])


def _take_classes(facts: LogFacts, table: list[str]) -> None:
    """mmseg's table, whose first column may hold anything, a bar included."""
    columns = [cell.strip() for cell in table[0].strip().strip("|").split("|")]
    rows = {}
    for line in table[1:]:
        if not line.startswith("|"):
            continue
        name, *values = line.strip()[1:-1].rsplit("|", len(columns) - 1)
        if len(values) == len(columns) - 1:
            rows[name.strip()] = tuple(map(_number, values))
    facts.class_columns, facts.classes = tuple(columns[1:]), rows


def _number(content: str) -> float:
    try:
        return float(content)
    except ValueError:
        return float("nan")
