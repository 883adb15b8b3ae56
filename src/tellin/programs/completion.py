# SPDX-License-Identifier: MIT
"""``tellin completion``: a script that lets bash, zsh or fish complete tellin's command lines.

The scripts know nothing themselves: at each press of the key they ask ``tellin completion words``,
which looks into the same tables as the programs.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Final

from tellin.programs.command import Failure, Program, visible

USAGE: Final = """\
usage: tellin completion bash|fish|zsh
       tellin completion words program [word ...]"""

# Before the first line: how the words are meant. "files\tKEPT": names of files fit behind KEPT, too.
_FINISHED, _UNFINISHED, _FILES = "words", "unfinished", "files"

_BASH: Final = r"""
# Completes tellin in bash: source <(tellin completion bash)
# Programs that "tellin link" has put under their own names: complete -F _tellin ssh
_tellin() {
    local line=${COMP_LINE:0:COMP_POINT} IFS=$' \t\n' answer meant kept one word
    local -a words lines
    # Bash itself also parts words at = and : and @.
    read -ra words <<<"$line"
    [[ $line == *[[:blank:]] ]] && words+=("")
    answer=$(@TELLIN@ completion words "${words[@]}" 2>/dev/null) || return
    mapfile -t lines <<<"$answer"
    IFS=$'\t' read -r meant kept <<<"${lines[0]}"
    word=${words[${#words[@]}-1]}
    COMPREPLY=()
    for one in "${lines[@]:1}"; do
        [[ $one ]] && COMPREPLY+=("${one%%$'\t'*}")
    done
    if [[ $meant == files ]]; then
        compopt -o filenames 2>/dev/null
        while IFS= read -r one; do
            COMPREPLY+=("$kept$one")
        done < <(compgen -f -- "${word#"$kept"}")
    elif [[ $meant == unfinished ]]; then
        compopt -o nospace 2>/dev/null
    fi
    # What stands before the last of those signs is not bash's to replace.
    local signs=""
    for one in = : @; do
        [[ $COMP_WORDBREAKS == *"$one"* ]] && signs+=$one
    done
    if [[ $signs && $word == *["$signs"]* ]]; then
        kept=${word%"${word##*["$signs"]}"}
        COMPREPLY=("${COMPREPLY[@]#"$kept"}")
    fi
}
complete -F _tellin tellin
"""

_ZSH: Final = r"""#compdef tellin
# Completes tellin in zsh: source <(tellin completion zsh), or as _tellin in a directory of $fpath
# Programs that "tellin link" has put under their own names: compdef _tellin ssh
_tellin() {
    local answer meant kept
    local -a lines found
    answer=$(@TELLIN@ completion words "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null) || return 1
    lines=("${(@f)answer}")
    meant=${lines[1]%%$'\t'*}
    kept=${lines[1]#*$'\t'}
    shift lines
    found=("${(@)lines%%$'\t'*}")
    found=("${(@)found:#}")
    if (( $#found )); then
        if [[ $meant == unfinished ]]; then
            compadd -U -S '' -a found
        else
            compadd -U -a found
        fi
    fi
    if [[ $meant == files ]]; then
        compset -P "${(b)kept}"
        _files
    fi
}
if [[ ${funcstack[1]} == _tellin ]]; then
    _tellin "$@"
else
    compdef _tellin tellin
fi
"""

_FISH: Final = r"""
# Completes tellin in fish: tellin completion fish | source
# Programs that "tellin link" has put under their own names: complete -c ssh -f -a '(__tellin_words)'
function __tellin_words
    set -l word (commandline -ct)
    set -l lines (@TELLIN@ completion words (commandline -opc) "$word" 2>/dev/null)
    or return
    set -l first (string split \t -- $lines[1])
    for line in $lines[2..-1]
        echo $line
    end
    if test "$first[1]" = files
        for path in (__fish_complete_path (string sub -s (math (string length -- "$first[2]") + 1) -- "$word"))
            echo $first[2]$path
        end
    end
end
complete -c tellin -f -a '(__tellin_words)'
"""

SCRIPTS: Final = {"bash": _BASH, "fish": _FISH, "zsh": _ZSH}


def run(arguments: list[str]) -> int:
    """Print a script, or the words that fit."""
    match arguments:
        case [shell] if shell in SCRIPTS:
            sys.stdout.write(SCRIPTS[shell].lstrip("\n").replace("@TELLIN@", _tellin()))
            return 0
        case ["words", *words]:
            _print_words(words)
            return 0
        case _:
            raise Failure(usage=USAGE)


def _tellin() -> str:
    """How a shell starts this program, from wherever it is."""
    script = Path(sys.executable).with_name("tellin")
    if os.access(script, os.X_OK):
        return shlex.quote(str(script))
    return f"{shlex.quote(sys.executable)} -m tellin"


def _print_words(words: list[str]) -> None:
    # Only here: to print a script takes none of the tables.
    from tellin.programs.completion_words import complete
    from tellin.runtime.surroundings import LocalSurroundings

    answer = complete(words, LocalSurroundings())
    meant = _FILES if answer.files else _UNFINISHED if answer.unfinished else _FINISHED
    print(f"{meant}\t{answer.kept}")
    for word, meaning in answer.words:
        # A name in known_hosts may hold anything: a shell is not to see more than a name in it.
        if word.isprintable() and " " not in word:
            print(f"{word}\t{visible(meaning)}" if meaning else word)


PROGRAM: Final = Program(
    "completion", "let a shell complete tellin's command lines", run, failure=1, linked=False
)
