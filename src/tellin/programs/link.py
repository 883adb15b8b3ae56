# SPDX-License-Identifier: MIT
"""``tellin link DIRECTORY``: the programs under their plain names, for those who want them so.

The package does not install ``ssh`` and the like by itself: they would hide the system's.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Final

from tellin.programs.command import PROGRAMS, Failure, OptionError, Options, Program, load

USAGE: Final = """\
usage: tellin link [-f] directory [program ...]
  -f  replace what stands there under such a name"""

_OPTIONS: Final = "f"


def run(arguments: list[str]) -> int:
    """Make the links; nothing is replaced without -f."""
    replace = False
    options = Options(arguments, _OPTIONS)
    try:
        for _ in options:
            replace = True
    except OptionError as error:
        raise Failure(str(error), usage=USAGE, status=1) from None
    if not options.rest:
        raise Failure(usage=USAGE, status=1)
    directory, *names = options.rest
    linkable = [name for name in PROGRAMS if load(name).linked]
    for name in names:
        if name not in linkable:
            raise Failure(f"link: no program named {name}", status=1)
    place = Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    for name in names or linkable:
        path = place / name
        if os.path.lexists(path) and not replace:
            raise Failure(f"link: {path} exists (-f replaces it)", status=1)
        _put(path, name)
        print(path)
    return 0


def _put(path: Path, name: str) -> None:
    # Beside its place first, then renamed over it: at no moment is the name missing.
    beside = path.with_name(f"{name}.{os.getpid()}")
    script = Path(sys.executable).with_name("tellin")
    if os.access(script, os.X_OK):
        # The installed ``tellin`` looks at the name that it is called by.
        beside.symlink_to(script)
    else:
        command = f"{shlex.quote(sys.executable)} -m tellin {name}"
        beside.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        beside.chmod(0o755)
    beside.replace(path)


PROGRAM: Final = Program(
    "link",
    "put links to the programs, under their plain names, into a directory",
    run,
    failure=1,
    linked=False,
    options=_OPTIONS,
)
