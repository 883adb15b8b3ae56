# SPDX-License-Identifier: MIT

import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.interop.odd_names import ODD
from tests.programs.file_runs import OURS, TELLIN, THEIRS, Hosts, said, tree

from tellin.programs.files.scp_names import alternatives, asked_for, quoted

DATA = random.Random(17).randbytes(1_300_001)
SERVERS = [
    pytest.param(OURS, id="tellin"),
    pytest.param(THEIRS, id="openssh", marks=[pytest.mark.peer("sftp-server"), pytest.mark.slow]),
]
# The protocol, and by whom the other side is spoken.
WAYS = [
    pytest.param([], "tellin", id="sftp"),
    pytest.param(["-O"], "tellin", id="rcp", marks=pytest.mark.slow),
    pytest.param(["-O"], "scp", id="rcp with openssh", marks=pytest.mark.peer("scp")),
]


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path)


def plant(folder: Path) -> Path:
    """A tree with odd names, an empty directory, a link, and modes and times of its own."""
    top = folder / "tree"
    (top / "sub" / "empty").mkdir(parents=True)
    (top / "big").write_bytes(DATA)
    (top / "none").write_bytes(b"")
    (top / "sub" / "link").symlink_to("../big")
    for number, name in enumerate(ODD):
        if b"\n" not in name:
            (top / "sub" / os.fsdecode(name)).write_bytes(b"x" * number)
    (top / "sub" / "run").write_bytes(b"run")
    (top / "sub" / "run").chmod(0o4751)
    os.utime(top / "sub" / "run", (1_000_000_000, 1_100_000_000))
    (top / "sub").chmod(0o750)
    os.utime(top / "sub", (1_000_000_000, 1_200_000_000))
    return top


def followed(top: Path) -> dict[str, object]:
    """What is to arrive: scp follows links."""
    return tree(top) | {"sub/link": DATA}


@pytest.mark.parametrize(("flags", "other"), WAYS)
def test_files_go_there_and_back(flags: list[str], other: str, tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, scp=other)
    (hosts.here / "a").write_bytes(DATA)
    (hosts.here / "a").chmod(0o640)
    (hosts.here / "empty").write_bytes(b"")
    assert said(hosts.scp(*flags, "a", "empty", "host:")) == []
    assert tree(hosts.host) == {"a": DATA, "empty": b""}
    assert stat.S_IMODE((hosts.host / "a").stat().st_mode) == 0o640
    for words in (["host:a", "b"], ["host:a", "host:empty", "."], ["host:e*", "c"]):
        done = hosts.scp(*flags, *words)
        assert (done.returncode, said(done)) == (0, []), words
    assert tree(hosts.here) == {"a": DATA, "b": DATA, "c": b"", "empty": b""}


@pytest.mark.parametrize(("flags", "other"), WAYS)
def test_trees_go_there_and_back_with_their_modes_and_times(
    flags: list[str], other: str, tmp_path: Path
) -> None:
    hosts = Hosts(tmp_path, scp=other)
    top = plant(hosts.here)
    done = hosts.scp(*flags, "-rp", "tree", "host:")
    assert (done.returncode, said(done)) == (0, [])
    assert tree(hosts.host / "tree") == followed(top)
    done = hosts.scp(*flags, "-rp", "host:tree", "back")
    assert (done.returncode, said(done)) == (0, [])
    assert tree(hosts.here / "back") == followed(top)
    for made in (hosts.host / "tree", hosts.here / "back"):
        status = (made / "sub" / "run").stat()
        assert (status.st_mode & 0o777, int(status.st_mtime)) == (0o751, 1_100_000_000)
        status = (made / "sub").stat()
        assert (stat.S_IMODE(status.st_mode), int(status.st_mtime)) == (0o750, 1_200_000_000)


@pytest.mark.parametrize(("flags", "other"), WAYS)
def test_r174_without_p_nothing_privileged_arrives(
    flags: list[str], other: str, tmp_path: Path
) -> None:
    hosts = Hosts(tmp_path, scp=other)
    (hosts.host / "run").write_bytes(b"run")
    (hosts.host / "run").chmod(0o6755)
    (hosts.host / "dir").mkdir()
    (hosts.host / "dir").chmod(0o3755)
    done = hosts.scp(*flags, "-r", "host:run", "host:dir", ".")
    assert (done.returncode, said(done)) == (0, [])
    for name in ("run", "dir"):
        assert stat.S_IMODE((hosts.here / name).stat().st_mode) == 0o755


@pytest.mark.parametrize("server", SERVERS)
def test_what_cannot_be_done_is_said_as_openssh_says_it(server: str, tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, server=server)
    (hosts.here / "a").write_bytes(b"a")
    (hosts.here / "d").mkdir()
    (hosts.host / "b").write_bytes(b"b")
    (hosts.host / "d").mkdir()
    expected: list[tuple[list[str], int, list[str]]] = [
        (["host:nothing", "x"], 1, ["scp: nothing: No such file or directory"]),
        (["host:n*", "x"], 1, ["scp: n*: No such file or directory"]),
        (["host:d", "x"], 1, ["scp: download d/: not a regular file"]),
        (["host:b", "host:d", "nodir"], 1, ["nodir: No such file or directory"]),
        (["host:b", "a", "a"], 1, ["a: Not a directory"]),
        (["host:b", "no/x"], 1, ['scp: open local "no/x": No such file or directory']),
        (["nothing", "host:"], 255, ['scp: stat local "nothing": No such file or directory']),
        (
            ["a", "host:no/x"],
            1,
            [
                'scp: dest open "no/x": No such file or directory',
                "scp: failed to upload file a to no/x",
            ],
        ),
        (
            ["d", "host:"],
            1,
            ['scp: local "d" is not a regular file', "scp: failed to upload file d to ."],
        ),
        (["a", "d", "host:b"], 255, ['scp: remote mkdir "b": Failure']),
        (["-X", "what=1", "a", "host:"], 255, ["scp: Invalid -X option"]),
    ]
    for words, status, lines in expected:
        done = hosts.scp(*words)
        assert (done.returncode, said(done)) == (status, lines), words
    for words in (["-z"], ["a"], [], ["-l", "x", "a", "host:"]):
        done = hosts.scp(*words)
        assert done.returncode == 1
        assert said(done)[-3].startswith("usage: scp [-346ABCOpqRrsTv]")


def test_a_failed_file_fails_the_run_and_the_others_arrive(hosts: Hosts) -> None:
    for name in ("a", "b", "c"):
        (hosts.host / name).write_bytes(name.encode())
    (hosts.here / "b").mkdir()
    done = hosts.scp("host:a", "host:b", "host:nothing", "host:c", ".")
    assert done.returncode == 1
    assert (hosts.here / "a").read_bytes() == b"a"
    assert (hosts.here / "c").read_bytes() == b"c"
    assert len(said(done)) == 2


@pytest.mark.parametrize("flags", [[], pytest.param(["-O"], marks=pytest.mark.slow)], ids=str)
def test_files_go_from_one_host_to_another(flags: list[str], hosts: Hosts) -> None:
    (hosts.host / "a").write_bytes(DATA)
    top = plant(hosts.host)
    done = hosts.scp(*flags, "-r", "host:a", "host:tree", "other:")
    assert (done.returncode, said(done)) == (0, [])
    assert (hosts.other / "a").read_bytes() == DATA
    assert tree(hosts.other / "tree") == followed(top)


def test_with_capital_r_scp_of_the_one_host_brings_it(hosts: Hosts) -> None:
    (hosts.host / "a b").write_bytes(b"data")
    hosts.scp("-R", "-p", "host:a b", "other:x")
    assert hosts.called()[-2:] == ["host", "scp -p a\\ b other:x"]


def test_ssh_gets_the_words_that_openssh_s_scp_gives_it(hosts: Hosts) -> None:
    (hosts.here / "a").write_bytes(b"a")
    options = ["-4", "-C", "-c", "aes128-ctr", "-i", "/k", "-J", "j", "-F", "none", "-o", "Tag=t"]
    hosts.scp(*options, "-P", "22", "-q", "-B", "-l", "800000", "a", "u@host:x")
    begin = [
        "-x",
        "-oPermitLocalCommand=no",
        "-oClearAllForwardings=yes",
        "-oRemoteCommand=none",
        "-oRequestTTY=no",
    ]
    given = [*options, "-q", "-oBatchmode=yes"]
    agent = "-oForwardAgent=no"
    assert hosts.called() == [
        *begin, *given, agent, "-p", "22", "-l", "u", "-s", "--", "host", "sftp",
    ]  # fmt: skip
    (hosts.root / "called").unlink()
    hosts.scp("-A", "-O", "-r", "-p", "scp://u@host:99/x", ".")
    assert hosts.called() == [
        *begin, "-A", "-p", "99", "-l", "u", "--", "host", "scp -r -p -f x",
    ]  # fmt: skip


def test_paths_of_a_home_and_of_addresses(hosts: Hosts) -> None:
    (hosts.host / "a").write_bytes(b"a")
    (hosts.root / "::1").symlink_to("host")
    for place in ("host:~/a", "[::1]:a", "scp://host/a", f"scp://host/{hosts.host}/%61"):
        done = hosts.scp(place, "b")
        assert (done.returncode, said(done)) == (0, []), place
        (hosts.here / "b").unlink()
    (hosts.here / "x:y").write_bytes(b"here")
    assert hosts.scp("./x:y", "copy").returncode == 0
    assert (hosts.here / "copy").read_bytes() == b"here"
    for bad in ("-oProxyCommand=x@host:a", "ho$st:a", "us`er@host:a"):
        done = hosts.scp("--", bad, "b")
        assert done.returncode == 255
        assert "invalid" in said(done)[0]


# R172, R173, R175: names that the other side chooses


def test_r173_what_is_fetched_into_a_directory_has_the_last_name_of_what_was_asked_for(
    hosts: Hosts,
) -> None:
    (hosts.host / "a").mkdir()
    (hosts.host / "a" / "b").write_bytes(b"b")
    assert hosts.scp("host:a/b", ".").returncode == 0
    assert hosts.scp("-r", "host:a/..", "up").returncode == 0
    assert sorted(one.name for one in hosts.here.iterdir()) == ["b", "up"]
    assert hosts.scp("-r", "host:a/..", ".").returncode == 0
    assert tree(hosts.root / "other") == {}
    assert (hosts.here / "a" / "b").read_bytes() == b"b"


@pytest.mark.parametrize(
    "line", [b"C0644 5 ../other/x", b"C0644 5 /x", b"C0644 5 ..", b"D0755 0 ..", b"C0644 5 other"]
)
def test_r172_case_259_a_hostile_sender_puts_nothing_elsewhere(
    line: bytes, tmp_path: Path
) -> None:
    hosts = Hosts(tmp_path, scp="tellin")
    hostile = tmp_path / "hostile"
    hostile.write_bytes(b"#!/bin/sh\nprintf '" + line + b"\\nevil\\n\\000'; cat > /dev/null\n")
    hostile.chmod(0o755)
    hosts.program = hostile
    done = hosts.run("scp", "-O", "-r", "host:asked", ".")
    assert done.returncode == 1
    assert said(done)[0].startswith("scp: protocol error: ")
    assert tree(hosts.here) == {}
    assert tree(hosts.other) == {}


@pytest.mark.parametrize("flags", [[], ["-O"]], ids=str)
def test_r175_no_link_is_followed_below_a_directory_that_is_received(
    flags: list[str], hosts: Hosts
) -> None:
    (hosts.host / "d" / "e").mkdir(parents=True)
    (hosts.host / "d" / "f").write_bytes(b"evil")
    (hosts.host / "d" / "e" / "g").write_bytes(b"evil")
    (hosts.here / "d").mkdir()
    (hosts.other / "f").write_bytes(b"good")
    (hosts.here / "d" / "f").symlink_to(hosts.other / "f")
    (hosts.here / "d" / "e").symlink_to(hosts.other)
    done = hosts.scp(*flags, "-r", "host:d", ".")
    assert done.returncode == 1
    assert tree(hosts.other) == {"f": b"good"}


def test_r185_a_path_is_quoted_for_the_remote_shell_and_patterns_stay(hosts: Hosts) -> None:
    odd = "a b;touch evil $(touch evil) `touch evil` 'x' \"y\" \\z & | <in >out #c \n(e) !f"
    (hosts.here / "a").write_bytes(b"a")
    done = hosts.scp("-O", "a", f"host:{odd}")
    assert (done.returncode, said(done)) == (0, [])
    assert tree(hosts.host) == {odd: b"a"}
    (hosts.host / odd).unlink()
    for name in ("p1", "p2", "q1"):
        (hosts.host / name).write_bytes(name.encode())
    done = hosts.scp("-O", "host:[!q]*", ".")
    assert (done.returncode, said(done)) == (0, [])
    assert sorted(tree(hosts.here)) == ["a", "p1", "p2"]


def test_names_that_were_asked_for_are_patterns_and_alternatives() -> None:
    assert alternatives(b"a{b,c{d,e}}f") == [b"abf", b"acdf", b"acef"]
    assert alternatives(b"a{b}c{") == [b"a{b}c{"]
    accepts = asked_for(b"dir/{a,b}*.txt")
    assert accepts(b"a1.txt")
    assert accepts(b"b.txt")
    assert not accepts(b"c.txt")
    assert not accepts(b".bashrc")
    assert not asked_for(b"*")(b".bashrc")
    # Quoted for the shell a backslash is one, so it is here.
    assert asked_for(rb"dir/a\b")(rb"a\b")
    assert not asked_for(rb"dir/a\b")(b"ab")
    assert asked_for(b"dir/.")(b"anything")
    assert quoted(b"~/x*[!a]") == b"~/x*[!a]"


# Cuts


def cut_after(count: int) -> str:
    """A server of which no more than so many bytes come."""
    return f"{sys.executable} {Path(__file__).with_name('cut_short.py')} {count} {OURS}"


@pytest.mark.parametrize(
    "count",
    [
        400,
        100_000,
        *(pytest.param(count, marks=pytest.mark.slow) for count in (0, 30, 32_000, 1_000_000)),
    ],
)
def test_a_download_that_is_cut_says_how_far_it_got_and_can_be_gone_on_with(
    count: int, tmp_path: Path
) -> None:
    hosts = Hosts(tmp_path, server=cut_after(count))
    (hosts.host / "a").write_bytes(DATA)
    done = hosts.scp("host:a", "a")
    assert done.returncode == 255
    assert said(done)[-1] == "scp: Connection closed"
    if count < 1000:
        # There was no file on its way yet.
        return
    kept = (hosts.here / "a").read_bytes()
    assert DATA.startswith(kept)
    assert len(kept) < len(DATA)
    assert any(f"{len(kept)} bytes" in line for line in said(done))
    whole = Hosts(tmp_path).run("sftp", "-a", "host:a", "a")
    assert whole.returncode == 0
    assert (hosts.here / "a").read_bytes() == DATA


def test_r176_case_257_a_full_disk_here_and_there_is_exit_1(hosts: Hosts) -> None:
    (hosts.host / "a").write_bytes(DATA)
    for flags in ([], ["-O"]):
        done = hosts.scp(*flags, "host:a", "/dev/full")
        assert done.returncode == 1
        assert any("No space left on device" in line for line in said(done))
    (hosts.here / "a").write_bytes(DATA)
    for flags in ([], ["-O"]):
        done = hosts.scp(*flags, "a", "host:/dev/full")
        assert done.returncode == 1
        assert any("/dev/full" in line for line in said(done))


def test_ctrl_c_ends_it_with_1(hosts: Hosts) -> None:
    os.mkfifo(hosts.root / "never")
    hosts.program.write_text(f"#!/bin/sh\nexec cat {hosts.root}/never\n")
    child = subprocess.Popen(
        [*TELLIN, "scp", "-S", str(hosts.program), "host:a", "b"],
        cwd=hosts.here,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    # The stand-in runs when it waits for somebody to write.
    deadline = time.monotonic() + 60
    writer = -1
    while writer < 0:
        try:
            writer = os.open(hosts.root / "never", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    os.killpg(child.pid, signal.SIGINT)
    _, complaints = child.communicate(timeout=60)
    os.close(writer)
    assert (child.returncode, complaints) == (1, b"")


# scp -t and -f by themselves


def serve(folder: Path, *words: str, told: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*TELLIN, "scp", *words],
        input=told,
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_what_scp_t_and_scp_f_say_on_the_wire(tmp_path: Path) -> None:
    done = serve(tmp_path, "-t", ".", told=b"C0600 3 a\nabc\0")
    assert (done.returncode, done.stdout, done.stderr) == (0, bytes(3), b"")
    assert (tmp_path / "a").read_bytes() == b"abc"
    done = serve(tmp_path, "-f", "a", told=bytes(3))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"C0600 3 a\nabc\0", b"")
    done = serve(tmp_path, "-f", "nothing", told=bytes(1))
    assert (done.returncode, done.stdout) == (1, b"\1scp: nothing: No such file or directory\n")
    done = serve(tmp_path, "-t", "-d", "a", told=b"")
    assert (done.returncode, done.stdout) == (1, b"\1scp: a: Not a directory\n")
    done = serve(tmp_path, "-t", ".", told=b"C0600 9 b\nabc")
    assert done.returncode == 1
    assert (tmp_path / "b").read_bytes() == b"abc"


def test_what_a_server_ends_with_says_nothing_of_files_that_are_there(tmp_path: Path) -> None:
    """AsyncSSH's, Paramiko's and others' send no status when a subsystem ends; ssh makes 255 of that."""
    hosts = Hosts(tmp_path, server=f"sh -c '{OURS}; exit 255'")
    (hosts.here / "a").write_bytes(b"data")
    done = hosts.scp("a", "host:b")
    assert (done.returncode, said(done)) == (0, [])
    done = hosts.scp("host:b", "c")
    assert (done.returncode, said(done)) == (0, [])
    assert (hosts.here / "c").read_bytes() == b"data"
    # Where nobody has been asked anything it says all.
    assert Hosts(tmp_path, server="exit 255 #").scp("a", "host:b").returncode == 255
