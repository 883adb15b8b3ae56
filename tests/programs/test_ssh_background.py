# SPDX-License-Identifier: MIT
"""``ssh`` without a session, without input, and in the background: ours beside OpenSSH's."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.peers import OpenSSHServer
from tests.interop.target import free_port
from tests.programs.ssh_runs import SSH, Ssh, having, said

pytestmark = pytest.mark.peer("sshd")

PATIENCE = 60


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[OpenSSHServer]:
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    options = {"Subsystem": "shout echo heard", "PermitListen": "none"}
    directory = tmp_path_factory.mktemp("server")
    with OpenSSHServer(directory, account=account, options=options) as running:
        yield running


def ours(folder: Path) -> list[int]:
    """The processes that were started with a file in ``folder`` among their words."""
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        try:
            words = (one / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder / "known_hosts") in words:
            found.append(int(one.name))
    return found


# What OpenSSH's client does at the same is for `make test-all` to hold beside ours.
@pytest.fixture(
    params=["tellin", pytest.param("ssh", marks=[pytest.mark.peer("ssh"), pytest.mark.slow])]
)
def ssh(request: pytest.FixtureRequest, server: OpenSSHServer, tmp_path: Path) -> Iterator[Ssh]:
    made = Ssh(tmp_path, server.target)
    made.program = SSH if request.param == "tellin" else ("ssh",)
    yield made
    made.stop()
    for pid in ours(tmp_path):
        os.kill(pid, signal.SIGKILL)


def gone(folder: Path) -> bool:
    until = time.monotonic() + PATIENCE
    while ours(folder) and time.monotonic() < until:
        time.sleep(0.05)
    return not ours(folder)


@pytest.mark.parametrize(
    "flags",
    [
        ["-n"],
        having("StdinNull=yes"),
        ["-f"],
        having("ForkAfterAuthentication=yes", "StdinNull=yes"),
    ],
    ids=" ".join,
)
def test_what_reads_no_input_reads_none(ssh: Ssh, flags: list[str], tmp_path: Path) -> None:
    """-f goes to the background with a session that has its output, and no input."""
    done = ssh.run("cat; echo over", flags=flags, input=b"not read")
    assert (done.status, done.stdout, done.stderr) == (0, b"over\n", b"")
    assert gone(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("flags", [["-N"], having("SessionType=none")], ids=" ".join)
def test_without_a_session_there_is_nothing_but_an_end(
    ssh: Ssh, flags: list[str], number: signal.Signals
) -> None:
    """By SIGTERM it is as good as any; by another signal there is the status of one."""
    process = ssh.start("echo no", flags=[*flags, "-v"])
    assert process.stderr is not None
    for line in process.stderr:
        if b"Entering interactive session." in line:
            break
    process.send_signal(number)
    out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0 if number == signal.SIGTERM else 255, b"")
    assert (b"Killed by signal 2." in errors) is (number == signal.SIGINT)


def test_a_subsystem_may_be_the_kind_of_session(ssh: Ssh) -> None:
    for flags in (["-s"], having("SessionType=subsystem")):
        done = ssh.run("shout", flags=flags)
        assert (done.status, done.stdout, done.stderr) == (0, b"heard\n", b"")


@pytest.mark.parametrize("flags", [["-f"], having("ForkAfterAuthentication=yes")], ids=" ".join)
def test_a_shell_is_nothing_for_the_background(ssh: Ssh, flags: list[str]) -> None:
    done = ssh.run(flags=flags)
    assert (done.status, done.stdout) == (255, b"")
    assert said(done) == ["Cannot fork into background without a command to execute."]


@pytest.mark.parametrize("fatal", ["yes", "no"])
def test_who_comes_back_from_f_knows_whether_all_is_forwarded(
    ssh: Ssh, fatal: str, tmp_path: Path
) -> None:
    """A port that is taken here, and one that the server does not give."""
    refused = free_port()
    for what, told in (
        (["-L", f"127.0.0.1:{ssh.target.port}:a:1"], "Could not request local forwarding."),
        (["-R", f"{refused}:a:1"], f"remote port forwarding failed for listen port {refused}"),
    ):
        flags = ["-f", "-N", *what, *having(f"ExitOnForwardFailure={fatal}")]
        done = ssh.run(flags=flags)
        assert done.status == (255 if fatal == "yes" else 0), done
        # What OpenSSH's has from the server comes when it has left the shell already.
        if fatal == "yes" or "-L" in what:
            assert told in done.stderr.decode()
        if fatal == "yes":
            assert gone(tmp_path)
        else:
            (pid,) = ours(tmp_path)
            os.kill(pid, signal.SIGTERM)
            assert gone(tmp_path)


@pytest.mark.peer("ssh")
def test_the_place_of_a_socket_is_the_same_to_both(server: OpenSSHServer, tmp_path: Path) -> None:
    file = tmp_path / "config"
    every = "%C %h %k %n %p %r %L %l %u %i %d %%".replace(" ", "-")
    file.write_text(
        "Host box\n HostName Real.Example.ORG\n Port 2201\n User me\n HostKeyAlias other\n"
        "Host led\n ProxyJump a@gate:24,b\n"
        f"Host *\n ControlPath /c/{every.replace('%C-', '')}\n",
        "ascii",
    )

    def shown(program: tuple[str, ...], *words: str) -> str:
        made = Ssh(tmp_path, server.target)
        made.program = program
        done = made.run("-F", str(file), "-G", *words, plain=True)
        lines = [one for one in said_out(done.stdout) if one.startswith("controlpath ")]
        assert len(lines) == 1, done
        return lines[0]

    def said_out(data: bytes) -> list[str]:
        return data.decode().splitlines()

    for words in (
        ("box",),
        ("led",),
        ("you@box",),
        ("-p", "5", "else.where"),
        ("-o", f"ControlPath=/c/{every}", "box"),
    ):
        assert shown(SSH, *words) == shown(("ssh",), *words)
