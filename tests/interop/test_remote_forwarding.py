# SPDX-License-Identifier: MIT
"""Remote forwarding beside OpenSSH's: the server listens, and what comes there is led to where the client is."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from tests.interop.conftest import Make, Running
from tests.interop.pairs import ALL_SERVERS
from tests.interop.servers import Server
from tests.interop.target import free_port
from tests.interop.test_forwarding import (
    MEETINGS,
    MUCH,
    ask_by_socks,
    dial,
    dial_path,
    everything,
    late_echo,
    reached,
    running_with,
    said,
    service,
    there_and_back,
    wording,
)
from tests.programs.ssh_runs import SSH, Ssh
from tests.programs.ssh_runs import said as said_by

# Who OpenSSH's client meets here is told apart by one test alone where time counts.
SLOWLY_BOTH = pytest.mark.parametrize(
    "client", [pytest.param("ssh", marks=[pytest.mark.peer("ssh"), pytest.mark.slow]), "tellin"]
)


@MEETINGS
def test_r_leads_a_port_of_the_server_here_both_ways_and_each_direction_ends_alone(
    client: str, server: str, running: Running, make_client: Make
) -> None:
    theirs, other = free_port(), free_port()
    with service(late_echo) as port, service() as second:
        words = ("-N", "-R", f"{theirs}:127.0.0.1:{port}")
        more = ("-o", f"RemoteForward={other} 127.0.0.1:{second}")
        argv = wording(make_client(client), running(server).target, *words, *more)
        with running_with(argv):
            with dial(theirs) as stream:
                assert there_and_back(stream, MUCH) == MUCH
            with dial(theirs) as one, dial(theirs) as two:
                assert there_and_back(two, b"two") == b"two"
                assert there_and_back(one, b"one") == b"one"
            with dial(other) as stream:
                assert there_and_back(stream, b"other") == b"other"


@MEETINGS
def test_r_joins_sockets_of_both_file_systems_and_ports(
    client: str, server: str, running: Running, make_client: Make, home: Path
) -> None:
    theirs = free_port()
    with service(path=home / "here"), service() as port:
        words = ["-N", "-R", f"{theirs}:{home}/here", "-R", f"{home}/a:{home}/here"]
        words += ["-R", f"{home}/b:127.0.0.1:{port}"]
        with running_with(wording(make_client(client), running(server).target, *words)):
            with dial(theirs) as stream:
                assert there_and_back(stream, b"hello") == b"hello"
            for name in "ab":
                with dial_path(home / name) as stream:
                    assert there_and_back(stream, b"hello") == b"hello"


@SLOWLY_BOTH
def test_r_has_the_server_listen_where_it_is_told_and_gateway_ports_allows(
    client: str, tmp_path: Path, make_client: Make
) -> None:
    """r145: on the server's own addresses alone unless its configuration says more."""
    heard = {}
    with service() as port, ALL_SERVERS["tellin"](tmp_path) as server:
        for gateway in ("no", "clientspecified", "yes"):
            server.reload({"GatewayPorts": gateway})  # type: ignore[attr-defined]
            ports = [free_port() for _ in range(6)]
            lead = f"127.0.0.1:{port}"
            words = ["-N", "-R", f"{ports[0]}:{lead}", "-R", f"127.0.0.2:{ports[1]}:{lead}"]
            words += ["-R", f":{ports[2]}:{lead}", "-R", f"*:{ports[3]}:{lead}"]
            words += ["-R", f"[127.0.0.1]:{ports[4]}:[127.0.0.1]:{port}"]
            words += ["-R", f"localhost:{ports[5]}:{lead}"]
            with running_with(wording(make_client(client), server.target, *words)):
                dial(ports[5]).close()
                heard[gateway] = [reached(number) for number in ports]
    assert heard["no"] == ["1"] * 6
    assert heard["clientspecified"] == ["1", "2", "1234", "1234", "1", "1"]
    assert heard["yes"] == ["1234"] * 6


def lines_until(process: subprocess.Popen[bytes], words: str) -> list[str]:
    """What a client says, up to the line that holds ``words``."""
    assert process.stderr is not None
    said = []
    while line := process.stderr.readline():
        said.append(line.decode().rstrip("\r\n"))
        if words in said[-1]:
            return said
    raise AssertionError(f"{words!r} is not in {said}")


def allocated(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """The port that a server has chosen, and what is said of where it leads."""
    line = lines_until(process, "Allocated port")[-1]
    found = re.fullmatch(r"Allocated port (\d+) for remote forward to (\S+)", line)
    assert found is not None, line
    return int(found[1]), found[2]


@MEETINGS
def test_r_with_port_0_says_which_port_it_is(
    client: str, server: str, running: Running, make_client: Make
) -> None:
    with service() as port:
        words = ("-N", "-R", f"0:127.0.0.1:{port}")
        argv = wording(make_client(client), running(server).target, *words, LogLevel="INFO")
        with running_with(argv) as process:
            theirs, leading = allocated(process)
            assert leading == f"127.0.0.1:{port}"
            with dial(theirs) as stream:
                assert there_and_back(stream, b"hello") == b"hello"


@MEETINGS
def test_r_without_a_target_leads_where_socks_says_within_permit_remote_open(
    client: str, server: str, running: Running, make_client: Make
) -> None:
    target = running(server).target
    with service(late_echo) as port, service() as other:
        argv = wording(make_client(client), target, "-N", "-R", "0", LogLevel="INFO")
        with running_with(argv) as process:
            theirs, leading = allocated(process)
            assert leading == "socks:0"
            for version, host in (("4", "127.0.0.1"), ("4a", "localhost"), ("5", "127.0.0.1"),
                                  ("5", "localhost")):  # fmt: skip
                with dial(theirs) as stream:
                    assert ask_by_socks(stream, version, host, port)[1] in {0, 0x5A}
                    assert there_and_back(stream, b"hello") == b"hello"
            with dial(theirs) as stream:
                ask_by_socks(stream, "5", "127.0.0.1", port)
                assert there_and_back(stream, MUCH[: 4 << 20]) == MUCH[: 4 << 20]
        permit = wording(
            make_client(client), target, "-N", "-R", "0",
            LogLevel="INFO", PermitRemoteOpen=f"127.0.0.1:{port}",
        )  # fmt: skip
        with running_with(permit) as process:
            theirs, _ = allocated(process)
            with dial(theirs) as stream:
                ask_by_socks(stream, "5", "127.0.0.1", port)
                assert there_and_back(stream, b"hello") == b"hello"
            with dial(theirs) as stream, suppress(ConnectionResetError):
                # OpenSSH just closes.
                assert ask_by_socks(stream, "4", "127.0.0.1", other)[:2] in {b"", b"\0\x5b"}
                assert everything(stream) == b""


# What the server refuses: its options, the forwarding that is asked for.
REFUSALS: list[tuple[dict[str, str], str]] = [
    ({}, "127.0.0.1:TAKEN:a:1"),
    ({}, "/no/such/directory/s:a:1"),
    ({"AllowTcpForwarding": "local"}, "0:a:1"),
    ({"PermitListen": "9"}, "FREE"),
    ({}, "HOME/file:a:1"),
    ({"AllowTcpForwarding": "no"}, "FREE:a:1"),
    ({"AllowStreamLocalForwarding": "no"}, "HOME/new:HOME/x"),
]


@pytest.mark.peer("ssh", "sshd")
@pytest.mark.parametrize(
    ("options", "place"),
    [
        pytest.param(*case, marks=pytest.mark.slow if number else ())
        for number, case in enumerate(REFUSALS)
    ],
)
def test_what_the_server_refuses_is_said_in_openssh_s_words_and_may_end_it(
    options: dict[str, str], place: str, tmp_path: Path, make_client: Make, home: Path
) -> None:
    (home / "file").write_text("", "utf-8")
    with service() as taken:
        where = place.replace("TAKEN", str(taken)).replace("HOME", str(home))
        where = where.replace("FREE", str(free_port()))

        def ending(server: Server, client: str, *, fatal: str, clear: str = "no") -> object:
            return said(
                make_client(client), server.target, "-R", where, LogLevel="INFO",
                ExitOnForwardFailure=fatal, ClearAllForwardings=clear, RemoteCommand="sleep 0.3",
            )  # fmt: skip

        with (
            ALL_SERVERS["sshd"](tmp_path, options=options) as sshd,
            ALL_SERVERS["tellin"](tmp_path, options=options) as tellin,
        ):
            at = place.partition(":")[0].replace("HOME", str(home))
            at = f"path {at}" if place[0] in "/H" else f"port {where.split(':')[place[0] == '1']}"
            failed = f"remote port forwarding failed for listen {at}"
            assert ending(sshd, "ssh", fatal="yes") == (255, [f"Error: {failed}"])
            assert ending(tellin, "ssh", fatal="yes") == (255, [f"Error: {failed}"])
            assert ending(sshd, "tellin", fatal="yes") == (255, [f"Error: {failed}"])
            assert ending(tellin, "tellin", fatal="yes") == (255, [f"Error: {failed}"])
            assert ending(sshd, "ssh", fatal="no") == (0, [f"Warning: {failed}"])
            assert ending(tellin, "tellin", fatal="no") == (0, [f"Warning: {failed}"])
            assert ending(tellin, "tellin", fatal="yes", clear="yes") == (0, [])


# What `ssh -v` hears from the server about it: options, what stands before the key, what is asked for.
TOLD: list[tuple[dict[str, str], str, list[str], int]] = [
    (
        {"AllowTcpForwarding": "local", "AllowStreamLocalForwarding": "no",
         "X11Forwarding": "yes", "XAuthLocation": "/no/such/xauth"},
        "", ["-R", "FREE:a:1", "-R", "HOME/s:a:1", "-Y"], 3,
    ),
    ({"X11Forwarding": "yes"}, "restrict", ["-R", "FREE:a:1", "-Y"], 2),
    ({}, 'permitlisten="9"', ["-R", "FREE:a:1"], 1),
    ({"GatewayPorts": "yes"}, "", ["-R", "127.0.0.2:FREE:a:1"], 1),
    ({"AllowTcpForwarding": "remote"}, "", ["-R", "localhost:FREE:a:1", "-W", "127.0.0.1:1"], 0),
]  # fmt: skip


@pytest.mark.peer("ssh", "sshd")
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case, id=f"{case[1]} {' '.join(case[2])}", marks=pytest.mark.slow if number else ()
        )
        for number, case in enumerate(TOLD)
    ],
)
def test_why_the_server_forwards_nothing_is_told_to_who_listens(
    case: tuple[dict[str, str], str, list[str], int], tmp_path: Path, home: Path
) -> None:
    """RFC 4253 section 11.3: in OpenSSH's words, which stand in many an answer to "why does it not work"."""
    options, line, flags, count = case
    words = [one.replace("HOME", str(home)).replace("FREE", str(free_port())) for one in flags]
    command = () if "-W" in flags else ("true",)

    def told(kind: str, *programs: Sequence[str]) -> list[list[str]]:
        folder = tmp_path / kind
        folder.mkdir(mode=0o755)
        heard = []
        with ALL_SERVERS[kind](folder, options=options) as server:
            if line:
                keys = next(folder.rglob("authorized_keys"))
                keys.write_text(f"{line} {keys.read_text('ascii')}", "ascii")
            for program in programs:
                ssh = Ssh(tmp_path, server.target)
                ssh.program = program
                done = ssh.run(*command, flags=["-v", *words], env={"DISPLAY": ":7"})
                assert done.status == (255 if "-W" in flags else 0), done
                remote = [one for one in said_by(done) if "Remote: " in one]
                # Of the lines of keys that were looked at OpenSSH's tells more than is asked.
                heard.append([one for one in remote if "key options:" not in one])
        return heard

    (theirs,) = told("sshd", ("ssh",))
    assert len(theirs) == count
    assert told("tellin", ("ssh",), SSH) == [theirs, theirs]


@pytest.mark.peer("ssh", "sshd")
def test_a_target_here_that_does_not_answer_is_said_in_openssh_s_words(
    running: Running, make_client: Make, home: Path
) -> None:
    nobody = free_port()
    lines = []
    for client in ("ssh", "tellin"):
        theirs = [free_port() for _ in range(3)]
        words = ["-N", "-R", f"{theirs[0]}:127.0.0.1:{nobody}", "-R", f"{theirs[1]}:{home}/no"]
        words += ["-R", f"{theirs[2]}:no-such.invalid:9"]
        argv = wording(make_client(client), running("sshd").target, *words, LogLevel="INFO")
        with running_with(argv) as process:
            for port in theirs:
                with dial(port) as stream, suppress(ConnectionResetError):
                    assert everything(stream) == b""
            process.terminate()
            _, errors = process.communicate(timeout=60)
            lines.append(errors.decode().replace("\r", "").splitlines())
    assert lines[1] == lines[0]
    assert lines[0]


def test_a_client_in_the_background_has_been_told_where_the_server_listens(
    running: Running, make_client: Make
) -> None:
    with service() as port:
        words = ("-f", "-N", "-R", f"0:127.0.0.1:{port}")
        argv = wording(make_client("tellin"), running("tellin").target, *words, LogLevel="INFO")
        try:
            done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
            found = re.fullmatch(
                rb"Allocated port (\d+) for remote forward to 127\.0\.0\.1:\d+\r?\n", done.stderr
            )
            assert (done.returncode, done.stdout) == (0, b"")
            assert found is not None
            with socket.create_connection(("127.0.0.1", int(found[1])), timeout=60) as stream:
                assert there_and_back(stream, b"hello") == b"hello"
        finally:
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    if f"0:127.0.0.1:{port}".encode() in place.read_bytes():
                        os.kill(int(place.parent.name), signal.SIGTERM)


def test_a_session_that_has_ended_waits_for_what_comes_from_the_server(
    running: Running, make_client: Make
) -> None:
    theirs = free_port()
    with service() as port:
        argv = list(map(str, make_client("tellin").argv(running("tellin").target, "cat; exit 7")))
        at = argv.index("-F")
        argv[at:at] = ["-o", f"RemoteForward={theirs} 127.0.0.1:{port}"]
        with running_with(argv) as process, dial(theirs) as stream:
            stream.sendall(b"x")
            assert stream.recv(1) == b"x"
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            assert there_and_back(stream, b"still here") == b"still here"
            assert process.wait(60) == 7
