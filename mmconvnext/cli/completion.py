"""``completion``: a script that makes bash, zsh or fish complete ``mmconvnext``.

The scripts ask ``mmconvnext completion SHELL -- WORDS`` at each Tab, so that what is completed lies
in one place for all shells and knows the files that are there. Of the libraries for argparse, shtab
knows no fish, and its scripts know no recipes; argcomplete would have to be installed wherever this
package is, which installs nothing.
"""

from __future__ import annotations

import argparse
import shlex
import sys

from mmconvnext.cli.candidates import Candidate, candidates
from mmconvnext.cli.errors import OneLineParser, report_errors

SCRIPTS = {
    "bash": """\
# mmconvnext's completion for bash: eval "$(mmconvnext completion bash)"
_mmconvnext() {
    local word="${COMP_WORDS[COMP_CWORD]}"
    mapfile -t COMPREPLY < <(
        mmconvnext completion bash -- "${COMP_LINE:0:COMP_POINT}" "$word" 2>/dev/null
    )
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/:=] ]]; then compopt -o nospace; fi
}
complete -F _mmconvnext mmconvnext
""",
    "zsh": """\
#compdef mmconvnext
# mmconvnext's completion for zsh: eval "$(mmconvnext completion zsh)" after compinit
_mmconvnext() {
    local line
    local -a ends goes_on
    for line in ${(f)"$(mmconvnext completion zsh -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"}; do
        if [[ $line == *[/:=] ]]; then goes_on+=("$line"); else ends+=("$line"); fi
    done
    (( $#ends )) && compadd -- $ends
    (( $#goes_on )) && compadd -S '' -- $goes_on
}
compdef _mmconvnext mmconvnext
""",
    "fish": """\
# mmconvnext's completion for fish: mmconvnext completion fish | source
function __mmconvnext
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    mmconvnext completion fish -- $words[2..-1] (commandline --current-token --cut-at-cursor)
end
complete --command mmconvnext --no-files --arguments '(__mmconvnext 2>/dev/null)'
""",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 1 failed, 2 bad input, 130 interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    if "--" in argv:
        split = argv.index("--")
        return report_errors(
            "mmconvnext completion", lambda: _answer(argv[:split], argv[split + 1 :]), debug=False
        )
    return report_errors(
        "mmconvnext completion",
        lambda: _print(SCRIPTS[parser().parse_args(argv).shell]),
        debug=False,
    )


def parser() -> OneLineParser:
    """The command's options."""
    options = OneLineParser(
        prog="mmconvnext completion",
        description="Print the script that makes a shell complete mmconvnext: its commands, "
        "options, recipes, published weights and files.",
        epilog="to have it in every shell, append to the file that it reads when it starts:\n"
        '  ~/.bashrc                   eval "$(mmconvnext completion bash)"\n'
        '  ~/.zshrc, after compinit    eval "$(mmconvnext completion zsh)"\n'
        "  ~/.config/fish/config.fish  mmconvnext completion fish | source",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("shell", choices=list(SCRIPTS), help="the shell to write for")
    return options


def _answer(options: list[str], words: list[str]) -> None:
    """Print what may stand for the last of ``words``, a line each."""
    shell = parser().parse_args(options).shell
    if shell == "bash":
        line, unbroken = words
        words = _split(line)[1:] or [""]
        for found in candidates(words):
            _print(_as_bash_has_it(found, words[-1], unbroken) + "\n")
    else:
        for found in candidates(words or [""]):
            hint = f"\t{found.what}" if shell == "fish" and found.what else ""
            _print(f"{found.value}{hint}\n")


def _split(line: str) -> list[str]:
    """The words of an unfinished command line; the last is empty after a space."""
    for closing in ("", "'", '"'):
        try:
            words = shlex.split(line + closing)
        except ValueError:
            continue
        return [*words, ""] if not closing and line[-1:].isspace() else words
    return line.split()


def _as_bash_has_it(found: Candidate, word: str, unbroken: str) -> str:
    """The candidate less what bash, which breaks words at ``:`` and ``=``, leaves as it is; with
    what the shell would take for something else escaped."""
    unbroken = "" if set(unbroken) <= {":", "="} else unbroken
    kept = word.removesuffix(unbroken) if word.endswith(unbroken) else ""
    rest = found.value.removeprefix(kept)
    return "".join(
        f"\\{letter}" if letter in " \\'\"()&;|<>$`*?[]#!{}" else letter for letter in rest
    )


def _print(text: str) -> None:
    sys.stdout.write(text)
