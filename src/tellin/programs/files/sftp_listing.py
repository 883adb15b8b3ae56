# SPDX-License-Identifier: MIT
"""What ``ls`` and ``df`` of sftp show, in OpenSSH's columns."""

import stat
import time
from collections.abc import Callable, Sequence
from typing import Final

from tellin.programs.files.places import shown
from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import Statistics
from tellin.wire import Record

_DEFAULT_WIDTH: Final = 80
_HALF_A_YEAR: Final = 365 * 24 * 3600 // 2
_UNITS: Final = "BKMGTPE"


class View(Record):
    """What the flags of ``ls`` ask for."""

    hidden: bool = False
    unsorted: bool = False
    scaled: bool = False
    long: bool = False
    numeric: bool = False
    single: bool = False
    reverse: bool = False
    by: str = "name"


class Shown(Record):
    """One line: a name as it is to be seen, and what is known of it."""

    name: bytes
    attributes: Attributes


def view_of(flags: Sequence[str]) -> View:
    """Read the flags, of which the last about the same thing counts."""
    view = View()
    for flag in flags:
        match flag:
            case "1":
                view.single, view.long = True, False
            case "a":
                view.hidden = True
            case "f":
                view.unsorted = True
            case "h":
                view.scaled = True
            case "l":
                view.long, view.single = True, False
            case "n":
                view.long, view.numeric, view.single = True, True, False
            case "r":
                view.reverse = True
            case "S":
                view.by, view.unsorted = "size", False
            case _:
                view.by, view.unsorted = "time", False
    return view


def ordered(entries: Sequence[Shown], view: View) -> list[Shown]:
    """In the order that is asked for: names from a to z, sizes and times the largest first."""
    if view.unsorted:
        return list(entries)
    found = sorted(entries, key=lambda one: one.name)
    if view.by == "size":
        found.sort(key=lambda one: one.attributes.size or 0, reverse=True)
    elif view.by == "time":
        found.sort(key=lambda one: one.attributes.mtime or 0, reverse=True)
    return found[::-1] if view.reverse else found


Names = Callable[[int | None], str]
"""What a number of a user, or of a group, is called."""


def long_line(entry: Shown, view: View, *, users: Names, groups: Names, now: float) -> str:
    """All that is known of a file, in one line."""
    known = entry.attributes
    size = known.size or 0
    amount = scaled(size) if view.scaled else str(size)
    return (
        f"{stat.filemode(known.permissions or 0)}    ? {users(known.uid):8} {groups(known.gid):8}"
        f" {amount:>8} {_when(known.mtime or 0, now)} {shown(entry.name)}"
    )


def _when(mtime: int, now: float) -> str:
    then = time.localtime(mtime)
    recent = now - _HALF_A_YEAR < mtime < now + _HALF_A_YEAR
    return time.strftime("%b %e %H:%M" if recent else "%b %e  %Y", then)


def columns(names: Sequence[str], *, longest: int, width: int, spread: bool) -> list[str]:
    """Names side by side, as many as fit; ``longest`` is how long one is, ``spread`` fills the line."""
    width = width or _DEFAULT_WIDTH
    across = max(width // (longest + 2), 1)
    space = width // across if spread else min(width // across, longest + 2)
    rows = [names[at : at + across] for at in range(0, len(names), across)]
    return ["".join(f"{name:{space}}" for name in row) for row in rows]


def scaled(count: int) -> str:
    """An amount in three digits and a unit: ``6B``, ``4.0K``, ``252G``."""
    unit, scale = 0, 1
    while count // scale >= 1024 and unit < len(_UNITS) - 1:
        unit, scale = unit + 1, scale * 1024
    whole, rest = divmod(count, scale)
    tenths = (rest * 10 + scale // 2) // scale
    if tenths >= 10:
        whole, tenths = whole + 1, 0
    if not unit:
        return f"{whole}B"
    if whole >= 100:
        return f"{whole + (tenths >= 5)}{_UNITS[unit]}"
    return f"{whole}.{tenths}{_UNITS[unit]}"


def _percent(whole: int, free: int) -> str:
    return f"{(whole - free) * 100 // whole if whole else 0:3d}%"


def room(found: Statistics, *, inodes: bool, human: bool) -> list[str]:
    """The two lines of ``df``."""
    if inodes:
        numbers = (
            found.files,
            found.files - found.free_files,
            found.available_files,
            found.free_files,
        )
        return [
            "     Inodes        Used       Avail      (root)    %Capacity",
            " ".join(f"{one:11d}" for one in numbers)
            + f"         {_percent(found.files, found.free_files)}",
        ]
    numbers = (
        found.blocks * found.fragment_size,
        (found.blocks - found.free_blocks) * found.fragment_size,
        found.available_blocks * found.fragment_size,
        found.free_blocks * found.fragment_size,
    )
    percent = _percent(found.blocks, found.free_blocks)
    if human:
        return [
            "    Size     Used    Avail   (root)    %Capacity",
            " ".join(f"{scaled(one):>7}B" for one in numbers) + f"         {percent}",
        ]
    return [
        "        Size         Used        Avail       (root)    %Capacity",
        " ".join(f"{one // 1024:12d}" for one in numbers) + f"         {percent}",
    ]
