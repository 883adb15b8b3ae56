# SPDX-License-Identifier: MIT
"""Copies by sftp and scp that are killed anywhere: their status, what they say, and that they can be gone on with."""

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.interop.servers import find
from tests.programs.file_runs import OURS, THEIRS, Hosts, said, tree

DATA = random.Random(23).randbytes(1_300_001)
CUTTER = Path(__file__).with_name("cut_line.py")
# What leads to the file takes a few hundred bytes, and what ends it too.
OFFSETS = [3_000, 40_000, 500_123, 1_290_000]


def killing(way: str, count: int, whom: str, server: str) -> str:
    return f"{sys.executable} {CUTTER} {way} {count} {whom} {server}"


def copied(
    hosts: Hosts, program: str, verb: str, *, recursive: bool = False
) -> subprocess.CompletedProcess[bytes]:
    flags = ["-r"] if recursive else []
    if program == "scp":
        return hosts.scp(*flags, *(("host:a", ".") if verb == "get" else ("a", "host:a")))
    return hosts.batch(f"{verb} {' '.join(flags)} a")


def sides(hosts: Hosts, verb: str) -> tuple[Path, Path]:
    return (hosts.host, hosts.here) if verb == "get" else (hosts.here, hosts.host)


def begun(folder: Path) -> bytes:
    path = folder / "a"
    return path.read_bytes() if path.exists() else b""


def finish(root: Path, verb: str, server: str, *, recursive: bool = False) -> None:
    """Go on with it over a line that holds."""
    hosts = Hosts(root, server=server)
    there = (sides(hosts, verb)[1] / "a").exists()
    again = f"{verb} {'-a' if there else ''} {'-r' if recursive else ''} a"
    done = hosts.batch(again)
    assert done.returncode == 0, said(done)


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(OURS, id="ours"),
        pytest.param(THEIRS, id="theirs", marks=pytest.mark.peer("sshd")),
    ],
)
@pytest.mark.parametrize("program", ["sftp", "scp"])
@pytest.mark.parametrize("verb", ["get", "put"])
@pytest.mark.parametrize(
    "cut", [(whom, offset) for whom in ("server", "client", "line") for offset in OFFSETS]
)
@pytest.mark.sampled(16)
def test_whoever_is_killed_in_the_middle_leaves_a_beginning_and_resuming_finishes_it(
    tmp_path: Path, server: str, program: str, verb: str, cut: tuple[str, int]
) -> None:
    whom, offset = cut
    way = "out" if verb == "get" else "in"
    hosts = Hosts(tmp_path, server=killing(way, offset, whom, server))
    source, target = sides(hosts, verb)
    (source / "a").write_bytes(DATA)
    done = copied(hosts, program, verb)
    kept = begun(target)
    assert DATA.startswith(kept)
    assert len(kept) < len(DATA)
    if whom == "client":
        assert done.returncode == -signal.SIGKILL
    else:
        # As OpenSSH's two: to lose the connection is their 255.
        assert done.returncode == 255
        told = how_far(done)
        assert told == len(kept) if verb == "get" else told <= len(kept)
    finish(tmp_path, verb, server)
    assert begun(target) == DATA


def how_far(done: subprocess.CompletedProcess[bytes]) -> int:
    """How much a program says is safe; it names the file and how much it should be."""
    lines = said(done)
    assert any(line.endswith("Connection closed") for line in lines), lines
    (found,) = [match for line in lines if (match := re.search(r"(\d+) bytes of (\d+) are", line))]
    assert int(found[2]) == len(DATA)
    assert found.string.rstrip("'").endswith("a")
    return int(found[1])


@pytest.mark.parametrize("verb", ["get", "put"])
@pytest.mark.parametrize("whom", ["client", "line"])
@pytest.mark.sampled(2)
def test_a_tree_that_was_cut_is_finished_by_resuming(tmp_path: Path, verb: str, whom: str) -> None:
    hosts = Hosts(tmp_path, server=killing("out" if verb == "get" else "in", 700_000, whom, OURS))
    source, target = sides(hosts, verb)
    (source / "a" / "deep").mkdir(parents=True)
    for number in range(12):
        (source / "a" / f"f{number}").write_bytes(DATA[: number * 9_999])
    (source / "a" / "deep" / "large").write_bytes(DATA)
    whole = tree(source)
    assert copied(hosts, "sftp", verb, recursive=True).returncode != 0
    assert tree(target) != whole
    for name, data in tree(target).items():
        found = whole[name]
        assert found == data or (isinstance(found, bytes) and found.startswith(data))  # type: ignore[arg-type]
    finish(tmp_path, verb, OURS, recursive=True)
    assert tree(target) == whole


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """A file system with room for a part of it, which gets more when it is full."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=640k", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.root
@pytest.mark.parametrize("program", ["sftp", "scp"])
@pytest.mark.parametrize("verb", ["get", "put"])
@pytest.mark.sampled(2)
def test_r176_case_257_a_full_disk_is_exit_1_and_its_side_and_file_are_named(
    tmp_path: Path, program: str, verb: str
) -> None:
    hosts = Hosts(tmp_path)
    source, target = sides(hosts, verb)
    with small_disk(target):
        (source / "a").write_bytes(DATA)
        done = copied(hosts, program, verb)
        assert done.returncode == 1
        kept = begun(target)
        assert DATA.startswith(kept)
        text = "\n".join(said(done))
        fault = r'local "\S*a": No space left' if verb == "get" else r'write remote "\S*a": '
        assert re.search(fault, text), text
        found = re.search(rf"(\d+) bytes of {len(DATA)} are", text)
        assert found, text
        assert 0 < int(found[1]) == len(kept)
        subprocess.run(["mount", "-o", "remount,size=4m", target], check=True)
        finish(tmp_path, verb, OURS)
        assert begun(target) == DATA


@pytest.mark.peer("scp", "sftp")
@pytest.mark.parametrize("program", ["sftp", "scp"])
def test_openssh_s_two_have_the_same_status_for_a_line_that_was_cut(
    tmp_path: Path, program: str
) -> None:
    hosts = Hosts(tmp_path, server=killing("out", 500_000, "line", OURS))
    (hosts.host / "a").write_bytes(DATA)
    words, lines = (["host:a", "."], []) if program == "scp" else (["-b", "-", "host"], ["get a"])
    theirs = hosts.run(program, *words, program=(find(program),), lines=lines)
    ours = hosts.run(program, *words, lines=lines)
    assert theirs.returncode == ours.returncode == 255
    assert os.path.getsize(hosts.here / "a")  # noqa: PTH202
