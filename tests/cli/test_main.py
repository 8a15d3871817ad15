"""The command without a command: help, version, and names that are nearly right."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mmconvnext.cli.main import COMMANDS, main
from mmconvnext.version import __version__

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mmconvnext", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_help_lists_every_command_once_under_its_heading(capsys):
    assert main([]) == 0
    said = capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0 and capsys.readouterr().out == said
    heading, found = "", {}
    for line in said[said.index("\n\n", said.index("--version")) :].splitlines():
        if line and line[0] != " " and line.endswith(":"):
            heading = line[:-1]
        elif match := re.match(r"  (\S+)  +(\S.*)", line):
            assert match[1] not in found
            found[match[1]] = (match[2], heading)
    assert found.pop("--version")[1] == "options"
    assert found == {name: row[1:] for name, row in COMMANDS.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_parser_of_its_name(name):
    module = import_module(COMMANDS[name][0])
    assert module.parser().prog == f"mmconvnext {name}"
    assert callable(module.main)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("trian", "no command 'trian'; did you mean train? (`mmconvnext -h` lists the commands)"),
        ("convert", "no command 'convert'; did you mean convert-checkpoint?"),
        ("xyz", "no command 'xyz' (`mmconvnext -h` lists the commands)"),
        ("--versoin", "unrecognized arguments: --versoin"),
    ],
)
def test_what_is_no_command_is_one_line_and_status_two(capsys, typed, said):
    assert main([typed]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_options_of_an_unknown_command_do_not_hide_it(capsys):
    assert main(["tets", "config.py", "--tta"]) == 2
    assert "did you mean test?" in capsys.readouterr().err


def test_it_runs_as_a_module_too():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"mmconvnext {__version__}\n"), done.stderr
