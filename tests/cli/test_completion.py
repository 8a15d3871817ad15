"""What Tab offers: by the answers themselves, and in the shells that are here."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from mmconvnext.adapt.names import BACKBONES
from mmconvnext.checkpoints.zoo import WEIGHTS
from mmconvnext.cli import candidates as module
from mmconvnext.cli.candidates import candidates
from mmconvnext.cli.completion import SCRIPTS
from mmconvnext.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[2]


def offered(*words: str) -> list[str]:
    return [found.value for found in candidates(list(words))]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    for name in ("mine.py", "mine.pth", "my notes.txt", ".hidden.py"):
        (tmp_path / name).touch()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "inner.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_first_come_the_commands():
    assert offered("") == list(COMMANDS)
    assert offered("tr") == ["train"]
    assert offered("--") == ["--help", "--version"]
    assert offered("trian", "") == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_offers_its_options_and_no_hidden_ones(command):
    found = offered(command, "--")
    assert "--help" in found and "--local-rank" not in found
    assert all(len(candidate.what) > 3 for candidate in candidates([command, "--"]))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "x.py", "--laun"], ["--launcher"]),
        (["train", "x.py", "--launcher", ""], ["none", "pytorch", "slurm", "mpi"]),
        (["train", "x.py", "--launcher", "s"], ["slurm"]),
        (["train", "x.py", "--launcher=p"], ["--launcher=pytorch"]),
        (["train", "--amp", "m"], ["mmconvnext::", "mmdet::", "mmseg::", "mine.py", "models/"]),
        (["train", "--max-iters", "5", "models/"], ["models/inner.py"]),
        (["train", "mine.py", "--max-iters", ""], []),
        (["train", "mine.py", "--cfg-options", "a=1", ""], []),
        (["train", "mine.py", "m"], []),
        (["train", "mine.py", "--work-dir", ""], ["models/"]),
        (["train", "mine.py", "--device", "c"], ["cpu", "cuda"]),
        (["test", "mine.py", "m"], ["mine.pth", "models/"]),
        (["test", "mine.py", "mine.pth", "--out", "my"], ["my notes.txt"]),
        (["train", "."], [".hidden.py"]),
        (["train", "absent/"], []),
        (["train", "no_such_package::"], []),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["demo", "--task", "s"], ["segmentation"]),
    ],
)
def test_values_are_those_that_the_place_takes(folder, words, expected):
    assert sorted(offered(*words)) == sorted(expected)


def test_recipes_are_offered_folder_by_folder():
    assert "mmconvnext::detection/" in offered("train", "mmconvnext::")
    assert not any("_base_" in found for found in offered("train", "mmconvnext::"))
    files = offered("analyze", "mmconvnext::detection/cascade_convnext_t")
    assert "mmconvnext::detection/cascade_convnext_t_coco.py" in files
    assert all((ROOT / "configs" / name.partition("::")[2]).is_file() for name in files)
    pytest.importorskip("mmdet")
    assert offered("adapt", "mmdet::faster") == ["mmdet::faster_rcnn/"]


def test_published_weights_and_backbones_are_all_offered(folder):
    names = offered("test", "mine.py", "convnext")
    assert names == [name for name in WEIGHTS if name.startswith("convnext")]
    assert set(module.BACKBONES) == set(BACKBONES)
    assert offered("train", "mine.py", "--backbone", "dinov3_convnext_t") == ["dinov3_convnext_t"]


def test_no_answer_brings_in_pytorch():
    code = (
        "import sys; import _mmconvnext_command as c;"
        "codes = [(setattr(sys, 'argv', ['mmconvnext', 'completion', 'fish', '--', *words]),"
        "c.main())[1] for words in ([''], *([name, '--'] for name in sys.argv[1:]),"
        "['train', ''], ['test', 'x', ''])];"
        "print([m for m in ('torch', 'mmengine', 'mmconvnext.backbones') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, *COMMANDS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout[-500:] + done.stderr


@pytest.mark.parametrize(
    ("line", "broken_word", "said"),
    [
        ("mmconvnext tra", "tra", ["train"]),
        ("mmconvnext train mmconvnext::seg", "seg", ["segmentation/"]),
        (
            "mmconvnext train mmconvnext::",
            "::",
            ["demo/", "detection/", "pretrain/", "road/", "segmentation/"],
        ),
        ("mmconvnext train x --launcher=py", "py", ["pytorch"]),
        ("mmconvnext test x y --out my", "my", ["my\\ notes.txt"]),
        ("mmconvnext test x y --out 'my", "'my", ["my\\ notes.txt"]),
    ],
)
def test_bash_gets_what_follows_the_place_where_it_breaks_words(
    folder, capsys, line, broken_word, said
):
    assert main(["completion", "bash", "--", line, broken_word]) == 0
    assert capsys.readouterr().out.splitlines() == said


def test_the_wrong_shell_is_refused_in_one_line(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
    assert main(["completion"]) == 2


# How each shell is started without a user's settings, and its script read.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(mmconvnext completion bash)"'),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload -Uz compinit; compinit -u -D; eval "$(mmconvnext completion zsh)"',
    ),
    "fish": (["fish", "--no-config", "--interactive"], "mmconvnext completion fish | source"),
}


@pytest.mark.parametrize("shell", SCRIPTS)
def test_tab_completes_in_the_shell(shell, folder):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    tool = folder / "bin" / "mmconvnext"
    tool.parent.mkdir()
    tool.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from _mmconvnext_command import main\nsys.exit(main())\n"
    )
    tool.chmod(0o755)
    start, script = SHELLS[shell]
    with Session(start, folder) as session:
        session.type("echo rea''dy\n", "ready")
        session.type(f"{script}; echo rea''d\n", "read")
        session.type("mmconvnext tra\t", "train ")
        session.type("mine.p\t", "mine.py")
        session.type("--launcher sl\t", "slurm")
        session.type("--backbone convnext_xl\t", "convnext_xlarge")


class Session:
    """An interactive shell on a pty."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._ours, theirs = pty.openpty()
        path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "TERM": "dumb", "HOME": str(folder), "PS1": "$ "}
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # fish wants one of its own
        )
        os.close(theirs)
        os.set_blocking(self._ours, False)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def type(self, keys: str, expected: str) -> None:
        """Type ``keys`` and wait until the terminal shows ``expected``."""
        os.write(self._ours, keys.encode())
        shown, until = "", time.monotonic() + 15
        while expected not in shown:
            assert time.monotonic() < until, f"{keys!r} gave {shown!r}"
            try:
                new = os.read(self._ours, 65536).decode(errors="replace")
                shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\x07\x08]", "", new)
            except BlockingIOError:
                time.sleep(0.02)
