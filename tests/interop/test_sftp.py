# SPDX-License-Identifier: MIT
"""tellin's file server with the peers' clients: files there and back, names, links, modes, times."""

import contextlib
import os
import random
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.conftest import Running
from tests.interop.peers import SFTP_SERVER, OpenSSHClient, OpenSSHServer, PlinkClient
from tests.interop.scripts import files_by
from tests.interop.servers import find
from tests.interop.target import Target
from tests.interop.tellin_peer import TellinClient, TellinServer
from tests.sftp.test_server import EVERY_REQUEST

from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import Request, framed

DATA = random.Random(6).randbytes(700_001)
OURS = f"{sys.executable} -P -m tellin sftp-server"
# Spaces, a line's end, quotes, bytes that are no UTF-8, a leading dash, a pattern, another script.
ODD = [
    b"a b",
    b"line\nend",
    b"'\"quo\\te",
    b"\xff\xfe",
    b"-rf",
    b"[x]*?",
    "Grüße".encode(),
    b".dot",
]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "files"
    made.mkdir()
    return made


def odd(root: Path) -> None:
    for number, name in enumerate(ODD):
        (root / os.fsdecode(name)).write_bytes(b"x" * number)


def batch(words: list[str], lines: list[str], cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [find("sftp"), *words],
        input="".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"),
        capture_output=True,
        cwd=cwd,
        timeout=100,
        check=False,
    )


def through(target: Target, tmp_path: Path) -> list[str]:
    """sftp's words for a server."""
    argv = OpenSSHClient(tmp_path).argv(target, "sftp", subsystem=True)
    words = [str(word) for word in argv][1:]
    options = words[: words.index("-T")]
    return [*options, "-P", str(target.port), "-b", "-", f"{target.user}@{target.host}"]


def directly(server: str, *options: str) -> list[str]:
    """sftp's words for a server that it starts itself."""
    return ["-D", " ".join((server, *options)), "-b", "-"]


@pytest.fixture(params=["sshd", "-D"])
def words(request: pytest.FixtureRequest, running: Running, tmp_path: Path) -> list[str]:
    if request.param == "-D":
        return directly(OURS)
    return through(running("tellin").target, tmp_path)


@pytest.mark.peer("sftp")
def test_openssh_puts_gets_renames_links_and_changes_files(
    words: list[str], root: Path, tmp_path: Path
) -> None:
    (tmp_path / "here").write_bytes(DATA)
    (tmp_path / "here").chmod(0o754)
    os.utime(tmp_path / "here", (1_000_000_000, 1_100_000_000))
    done = batch(
        words,
        [
            f"cd {root}",
            "pwd",
            "put -p here there",
            "get -p there back",
            "rename there moved",
            "ln -s moved soft",
            "ln moved hard",
            "get soft again",
            "chmod 600 hard",
            "mkdir folder",
            "mkdir folder/below",
            "rmdir folder/below",
            "put -r folder2",
            "ls -l",
            "df",
            "rm hard",
        ],
        tmp_path,
    )
    # There is no folder2 here: the one line that fails, and with -b the last that is run.
    assert done.returncode == 1, done.stderr
    assert f"Remote working directory: {root}".encode() in done.stdout
    assert (root / "moved").read_bytes() == DATA
    assert (tmp_path / "back").read_bytes() == DATA
    assert (tmp_path / "again").read_bytes() == DATA
    status = (tmp_path / "back").stat()
    assert (stat.S_IMODE(status.st_mode), int(status.st_mtime)) == (0o754, 1_100_000_000)
    assert (root / "soft").readlink() == Path("moved")
    assert (root / "hard").samefile(root / "moved")
    assert stat.S_IMODE((root / "moved").stat().st_mode) == 0o600
    assert sorted(one.name for one in root.iterdir()) == ["folder", "hard", "moved", "soft"]


@pytest.mark.peer("sftp")
def test_openssh_goes_on_with_half_a_file(words: list[str], root: Path, tmp_path: Path) -> None:
    (root / "whole").write_bytes(DATA)
    (tmp_path / "whole").write_bytes(DATA[:300_000])
    (root / "half").write_bytes(DATA[:123_456])
    (tmp_path / "half").write_bytes(DATA)
    done = batch(words, [f"cd {root}", "reget whole", "reput half"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "whole").read_bytes() == DATA
    assert (root / "half").read_bytes() == DATA


@pytest.mark.peer("sftp", "sftp-server")
def test_a_listing_looks_as_openssh_makes_it_and_names_are_any_bytes(
    root: Path, tmp_path: Path
) -> None:
    odd(root)
    (root / "old").write_bytes(b"")
    os.utime(root / "old", (1_000_000_000, 1_000_000_000))
    (root / "folder").mkdir(mode=0o1777)
    (root / "link").symlink_to("old")
    os.mkfifo(root / "pipe")
    lines = [f"cd {root}", "ls -la", "ls -ln", 'get "a b" got', f"get {root}/-rf dash", "df"]
    theirs = batch(directly(str(SFTP_SERVER)), lines, tmp_path)
    ours = batch(directly(OURS), lines, tmp_path)
    assert (ours.returncode, ours.stderr) == (0, b"")
    listed = ours.stdout.split(b"df\n")[0], theirs.stdout.split(b"df\n")[0]
    # The directory above has got a file meanwhile.
    assert listed[0].replace(b" got", b"") == listed[1].replace(b" got", b"")
    assert (tmp_path / "got").read_bytes() == b""
    assert (tmp_path / "dash").read_bytes() == b"xxxx"


@pytest.mark.peer("sftp", "sftp-server")
def test_the_log_is_openssh_s_line_by_line(root: Path, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"data")
    lines = [
        f"cd {root}",
        "put -p here a",
        "get a b",
        "-get nothing",
        "rename a c",
        "ln c d",
        "ln -s c e",
        "chmod 640 c",
        "-chown 0 c",
        "mkdir f",
        "rmdir f",
        "ls -l",
        "df",
        "rm c",
        "rm d",
        "rm e",
    ]
    logs = []
    for server in (str(SFTP_SERVER), OURS):
        done = batch(directly(server, "-e", "-l", "VERBOSE"), lines, tmp_path)
        said = done.stderr.decode().replace("\r", "").splitlines()
        # OpenSSH's server counts the groups among the users.
        logs.append([line for line in said if not line.startswith(("File ", "users-groups"))])
    assert logs[1] == logs[0]
    assert len(logs[1]) > 25


@pytest.mark.peer("sftp")
@pytest.mark.parametrize(
    ("options", "refused"),
    [
        (["-R"], ["put here a", "mkdir d", "rm old", "rename old x", "chmod 600 old", "ln old y"]),
        (["-P", "remove,mkdir"], ["rm old", "mkdir d"]),
        (
            ["-p", "realpath,stat,lstat,open,read,close,opendir,readdir"],
            ["mkdir d", "rm old"],
        ),
    ],
)
def test_r178_case_245_what_is_not_permitted_is_denied(
    options: list[str], refused: list[str], root: Path, tmp_path: Path
) -> None:
    (root / "old").write_bytes(b"old")
    (tmp_path / "here").write_bytes(b"here")
    for line in refused:
        done = batch(directly(OURS, *options), [f"cd {root}", line], tmp_path)
        assert done.returncode == 1, line
        # What is not offered it does not even ask for.
        assert re.search(b"ermission denied|does not support", done.stderr), line
    assert [(one.name, one.read_bytes()) for one in root.iterdir()] == [("old", b"old")]
    done = batch(directly(OURS, *options), [f"cd {root}", "get old new", "ls"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new").read_bytes() == b"old"


def answers(
    server: str, options: list[str], requests: list[Request]
) -> list[tuple[str, int, int]]:
    """For each request the number of the reply, and the code of a STATUS."""
    sent = b"\0\0\0\5\1\0\0\0\3" + b"".join(
        framed(request, number) for number, request in enumerate(requests)
    )
    with subprocess.Popen(
        [*server.split(), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(sent)
        process.stdin.flush()
        # OpenSSH's server leaves when its input ends, whatever it has still to say.
        frames = []
        for _ in range(len(requests) + 1):
            size = int.from_bytes(process.stdout.read(4), "big")
            frames.append(process.stdout.read(size))
        process.stdin.close()
    return [
        (request.name, frame[0], int.from_bytes(frame[5:9], "big") if frame[0] == 101 else 0)
        for request, frame in zip(requests, frames[1:], strict=True)
    ]


# Case 230: a handle that is none is a failure, whatever is asked of it; and a home without a name is the user's own.
ON_PURPOSE = {
    ("close", 101, 2): ("close", 101, 4),
    ("fsync", 101, 2): ("fsync", 101, 4),
    ("home-directory", 101, 4): ("home-directory", 104, 0),
}


def inside(request: Request, root: Path) -> Request:
    """The same with its paths below a directory."""
    values = {name: getattr(request, name) for name in type(request).__annotations__}
    for name in ("path", "old_path", "new_path", "first", "second"):
        if values.get(name, b"").startswith(b"/"):
            values[name] = os.fsencode(root) + values[name]
    return type(request)(**values)


@pytest.mark.peer("sftp-server")
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-R"],
        ["-P", ",".join(request.name for request in EVERY_REQUEST)],
        ["-p", "realpath"],
        ["-R", "-P", "stat", "-p", "stat,lstat,open,mkdir"],
    ],
    ids=["all", "-R", "-P", "-p", "-R -P -p"],
)
def test_r178_case_245_every_request_is_answered_as_openssh_s_server_does(
    options: list[str], root: Path
) -> None:
    (root / "old").write_bytes(b"old")
    requests = [inside(request, root) for request in EVERY_REQUEST]
    for kind in (messages.Stat, messages.OpenDirectory, messages.RealPath, messages.ReadLink):
        requests += [kind(os.fsencode(root)), kind(os.fsencode(root / "none" / "x"))]
    old = os.fsencode(root / "old")
    requests += [messages.Open(old, flags, Attributes()) for flags in (1, 2, 3, 9, 17, 41, 0)]
    requests += [
        messages.MakeDirectory(old, Attributes()),
        messages.RemoveDirectory(old),
        messages.Rename(old, old),
        messages.SetStat(old, Attributes(permissions=0o600)),
        messages.Remove(os.fsencode(root)),
    ]
    answered = []
    for server in (str(SFTP_SERVER), OURS):
        answered.append(answers(server, options, requests))
        assert (root / "old").exists()
        (root / "b").unlink(missing_ok=True)
    theirs = [ON_PURPOSE.get(answer, answer) for answer in answered[0]]
    assert answered[1] == theirs


@pytest.mark.peer("sftp")
def test_the_options_of_sftp_server_work(root: Path, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"here")
    (tmp_path / "here").chmod(0o666)
    (root / "100%").mkdir()
    words = directly(OURS, "-d", f"{root}/100%%", "-u", "077", "-e", "-l", "INFO")
    done = batch(words, ["put here there", "mkdir folder"], tmp_path)
    assert done.returncode == 0, done.stderr
    made = root / "100%"
    modes = [stat.S_IMODE((made / name).stat().st_mode) for name in ("there", "folder")]
    assert modes == [0o600, 0o700]
    assert re.search(rb"session opened for local user \w+ from \[UNKNOWN\]\r\n", done.stderr)
    for wrong in (
        ["-l", "LOUD"],
        ["-u", "8"],
        ["-f", "KERN"],
        ["-x"],
        ["-h"],
        ["-P", "a", "-P", "b"],
    ):
        done = subprocess.run([*OURS.split(), *wrong], capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (1, b""), wrong
        assert b"usage: sftp-server" in done.stderr


@pytest.mark.peer("sftp")
@pytest.mark.parametrize("sshd", [False, True], ids=["-D", "forced command"])
def test_r179_openssh_in_a_root_of_its_own_sees_and_touches_nothing_else(
    sshd: bool, root: Path, tmp_path: Path
) -> None:
    (root / "inner").mkdir()
    (root / "inner" / "a").write_bytes(b"inside")
    (root / "out").symlink_to(tmp_path)
    (tmp_path / "secret").write_bytes(b"outside")
    options = ["-r", str(root), "-d", "/inner", "-l", "QUIET"]
    lines = [
        "pwd",
        "get a got",
        "put got ../../../b",
        "ln -s /inner/a /link",
        "get /link linked",
        "rename a /c",
        "-get ../../secret stolen",
        "-get /out/secret stolen",
        "-cd /out",
        "-rm /../../secret",
        "df /",
        "ls -la /",
    ]
    with contextlib.ExitStack() as stack:
        if sshd:
            forced = {"ForceCommand": f"internal-sftp {' '.join(options)}"}
            server = stack.enter_context(TellinServer(tmp_path, options=forced))
            words = through(server.target, tmp_path)
        else:
            words = directly(OURS, *options)
        done = batch(words, lines, tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"working directory: /inner" in done.stdout
    assert (root / "b").read_bytes() == (root / "c").read_bytes() == b"inside"
    assert (tmp_path / "linked").read_bytes() == b"inside"
    assert not (tmp_path / "stolen").exists()
    assert (tmp_path / "secret").read_bytes() == b"outside"


def test_r179_a_root_that_is_not_there_is_served_by_nobody(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none"), "%x", str(tmp_path / "file")):
        (tmp_path / "file").write_bytes(b"")
        done = subprocess.run(
            [*OURS.split(), "-e", "-r", name],
            input=b"\0\0\0\5\1\0\0\0\3",
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (255, b""), name
        assert done.stderr.startswith(b"cannot serve from ")


@pytest.mark.peer("sftp-server")
def test_the_requests_have_the_names_that_openssh_has_for_them() -> None:
    theirs = subprocess.run([SFTP_SERVER, "-Q", "requests"], capture_output=True, check=True)
    ours = subprocess.run([*OURS.split(), "-Q", "requests"], capture_output=True, check=True)
    assert ours.stdout.split() == theirs.stdout.split()


@pytest.mark.peer("asyncssh")
def test_asyncssh_works_with_files_and_with_links_in_its_own_order(
    running: Running, root: Path
) -> None:
    odd(root)
    found = files_by("asyncssh", running("tellin").target, root)
    assert found == {
        "names": sorted(name.decode("latin-1") for name in ODD),
        "data": True,
        "link": ["f", True],
        "status": [len(DATA) + 4, 0o640, 1, 2],
        "copied": len(DATA) + 4,
        "room": True,
        "refused": "No such file",
        "where": f"{root}/new",
    }


@pytest.mark.peer("paramiko")
def test_paramiko_works_with_files(running: Running, root: Path) -> None:
    found = files_by("paramiko", running("tellin").target, root)
    assert found == {
        "names": ["f", "link"],
        "data": True,
        "link": ["f", True],
        "status": [len(DATA) + 4, 0o640, 1, 2],
        "refused": "No such file",
        "where": f"{root}/new",
    }


@pytest.mark.peer("psftp", "plink")
def test_putty_works_with_files(running: Running, root: Path, tmp_path: Path) -> None:
    client, target = PlinkClient(tmp_path), running("tellin").target
    argv = [str(word) for word in client.argv(target, "sftp", subsystem=True)]
    words = [word for word in argv[1:] if word not in {"-ssh", "-T", "-s", "sftp"}]
    (tmp_path / "here").write_bytes(DATA)
    lines = [
        f"cd {root}",
        "put here there",
        "get there back",
        "mv there moved",
        "chmod 640 moved",
        "mkdir folder",
        "ls",
        "reget moved back",
        "rmdir folder",
    ]
    (tmp_path / "batch").write_text("".join(f"{line}\n" for line in lines), "ascii")
    done = subprocess.run(
        [find("psftp"), *words[:-1], "-b", "batch", words[-1]],
        env=client.environment(target),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=tmp_path,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert (tmp_path / "back").read_bytes() == DATA
    assert (root / "moved").read_bytes() == DATA
    assert stat.S_IMODE((root / "moved").stat().st_mode) == 0o640
    assert [one.name for one in root.iterdir()] == ["moved"]
    assert b"moved" in done.stdout


# internal-sftp by the configuration


@pytest.fixture
def only_files(tmp_path: Path) -> Iterator[TellinServer]:
    with TellinServer(tmp_path, options={"ForceCommand": "internal-sftp -R"}) as server:
        yield server


@pytest.mark.peer("sftp")
def test_a_forced_internal_sftp_serves_files_with_its_options_and_nothing_else(
    only_files: TellinServer, root: Path, tmp_path: Path
) -> None:
    (root / "old").write_bytes(b"old")
    words = through(only_files.target, tmp_path)
    done = batch(words, [f"get {root}/old got"], tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "got").read_bytes() == b"old"
    assert batch(words, [f"rm {root}/old"], tmp_path).returncode == 1
    assert (root / "old").exists()
    client = TellinClient(tmp_path)
    for pty in (False, True):
        done = client.run(only_files.target, "echo no", pty=pty)
        assert done.status == 1
        assert done.stdout.replace(b"\r", b"") == b"This service allows sftp connections only.\n"


@pytest.mark.peer("sftp", "sshd")
def test_openssh_says_the_same_where_only_files_are_served(tmp_path: Path) -> None:
    options = {"ForceCommand": "internal-sftp"}
    with OpenSSHServer(tmp_path, options=options) as server:
        done = TellinClient(tmp_path).run(server.target, "echo no")
    assert (done.status, done.stdout) == (1, b"This service allows sftp connections only.\n")


def test_a_command_of_that_name_is_the_shells(running: Running, tmp_path: Path) -> None:
    done = TellinClient(tmp_path).run(running("tellin").target, "internal-sftp")
    assert done.status == 127
    assert b"not found" in done.stderr


def test_a_session_without_sftp_s_first_message_ends_with_openssh_s_status(
    running: Running, tmp_path: Path
) -> None:
    client, target = TellinClient(tmp_path), running("tellin").target
    assert client.run(target, "sftp", subsystem=True, input=b"").status == 0
    done = client.run(target, "sftp", subsystem=True, input=b"GET / HTTP/1.1\r\n\r\n")
    assert (done.status, done.stdout) == (11, b"")
