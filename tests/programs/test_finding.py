# SPDX-License-Identifier: MIT
"""Modules that are found by their names: they are what Python would have found."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Imports tests' own package "room" in a fresh interpreter, and says what came of it.
LOOK = """
import json, sys
from tellin.programs.finding import Finder, find_by_name
import room
find_by_name(room)
ours = [one for one in sys.meta_path if isinstance(one, Finder)]
from room import wall
found = [type(wall.__spec__.loader).__name__, len(ours)]
print(json.dumps([found, wall.COLOUR, *(str(getattr(wall, name)) for name in (
    "__name__", "__file__", "__cached__", "__package__"))]))
"""


class Room:
    """A package of a single module, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = folder / "room"
        self.package.mkdir()
        (self.package / "__init__.py").write_text("", "utf-8")
        self.wall = self.package / "wall.py"
        self.paint("white")

    def paint(self, colour: str) -> None:
        self.wall.write_text(f"COLOUR = {colour!r}\n", "utf-8")

    def bytecode(self) -> Path:
        (found,) = self.package.glob("__pycache__/wall.*.pyc")
        return found

    def run(self, code: str, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        # Last in the path, so that nothing of the tests' stands in the way.
        argv = [
            sys.executable,
            *flags,
            "-c",
            f"import sys; sys.path.append({str(self.folder)!r})\n{code}",
        ]
        return subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=False,
            env={**kept, **environment},
            timeout=60,
        )

    def look(self, *flags: str, **environment: str) -> list[object]:
        done = self.run(LOOK, *flags, **environment)
        assert not done.returncode, done.stderr
        found: list[object] = json.loads(done.stdout)
        return found


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


@pytest.mark.parametrize("flags", [(), ("-O",), ("-OO",), ("-B",)], ids=repr)
def test_a_module_is_what_it_would_be_without(room: Room, flags: tuple[str, ...]) -> None:
    with_us = room.look(*flags)
    assert with_us[0] == ["_Loader", 1]
    plain = LOOK.replace("find_by_name(room)", "")
    done = room.run(plain, *flags)
    without: list[object] = json.loads(done.stdout)
    assert without[0] == ["SourceFileLoader", 0]
    assert with_us[1:] == without[1:]


def test_bytecode_is_written_and_read_as_ever(room: Room) -> None:
    assert room.look()[1] == "white"
    written = room.bytecode().read_bytes()
    assert room.look()[1] == "white"
    assert room.bytecode().read_bytes() == written
    # What the bytecode says is what counts while it fits the source, as with any module.
    room.bytecode().write_bytes(written.replace(b"white", b"black"))
    assert room.look()[1] == "black"


def test_a_source_that_has_changed_counts(room: Room) -> None:
    room.look()
    room.paint("yellow")
    assert room.look()[1] == "yellow"
    assert b"yellow" in room.bytecode().read_bytes()
    # Of the same length, and written later.
    room.paint("purple")
    os.utime(room.wall, (1e9, 1e9))
    assert room.look()[1] == "purple"


@pytest.mark.parametrize("damage", [b"", b"x", b"x" * 16, b"x" * 4096])
def test_damaged_bytecode_is_made_anew(room: Room, damage: bytes) -> None:
    room.look()
    room.bytecode().write_bytes(damage)
    assert room.look()[1] == "white"
    assert b"white" in room.bytecode().read_bytes()


BEGIN = "from tellin.programs.finding import find_by_name\nimport room\nfind_by_name(room)\n"


def test_a_package_in_it_is_what_it_would_be_without(room: Room) -> None:
    inner = room.package / "inner"
    inner.mkdir()
    (inner / "__init__.py").write_text("SIZE = 3\n", "utf-8")
    (inner / "shelf.py").write_text("BOOKS = 7\n", "utf-8")
    look = """
from room.inner import shelf
import room.inner as inner
print([str(getattr(inner, name)) for name in (
    "SIZE", "__name__", "__file__", "__cached__", "__package__", "__path__")])
print(shelf.BOOKS, shelf.__file__, shelf.__package__, type(inner.__spec__.loader).__name__)
"""
    ours = room.run(BEGIN + look).stdout
    theirs = room.run(f"import room\n{look}").stdout
    assert "_Loader" in ours
    assert ours.replace("_Loader", "SourceFileLoader") == theirs


def test_what_is_no_file_is_left_to_python(room: Room) -> None:
    bare = room.package / "bare"
    bare.mkdir()
    (bare / "floor.py").write_text("SIZE = 3\n", "utf-8")
    assert room.run(f"{BEGIN}from room.bare import floor; print(floor.SIZE)").stdout == "3\n"
    assert "No module named 'room.cellar'" in room.run(f"{BEGIN}import room.cellar").stderr


def test_bytecode_that_is_kept_elsewhere_is_left_to_python(room: Room, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    found = room.look(PYTHONPYCACHEPREFIX=str(elsewhere))
    assert found[0] == ["SourceFileLoader", 0]
    assert str(found[4]).startswith(str(elsewhere))


def test_a_traceback_shows_the_line(room: Room) -> None:
    room.wall.write_text("def lean():\n    raise OSError('a crack')\n", "utf-8")
    done = room.run(
        "from tellin.programs.finding import find_by_name\nimport room\nfind_by_name(room)\n"
        "from room.wall import lean\nlean()"
    )
    assert "raise OSError('a crack')" in done.stderr
