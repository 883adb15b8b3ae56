# SPDX-License-Identifier: MIT
"""Subsystems: a command by name."""

import random
from pathlib import Path

import pytest
from tests.interop.conftest import Make, Running
from tests.interop.pairs import mirror, pairs
from tests.interop.scripts import asyncssh_task
from tests.interop.tellin_peer import TellinClient, TellinServer, tellin

DATA = random.Random(4254).randbytes(300_001)


@pytest.mark.parametrize(
    ("client", "server"),
    # plink's -s takes another way than the others to say what it wants, and Paramiko's server none.
    pairs(
        clients=("ssh", "dbclient", "asyncssh", "paramiko", "ssh2", "tellin"),
        servers=("sshd", "asyncssh", "paramiko", "tellin"),
    ),
)
def test_a_command_subsystem(
    client: str, server: str, running: Running, make_client: Make
) -> None:
    done = make_client(client).run(running(server).target, "echo", subsystem=True, input=DATA)
    assert (done.stdout == DATA) is True, (len(done.stdout), done.stderr)
    assert done.status == 0


@pytest.fixture
def various(tmp_path: Path) -> TellinServer:
    """A server with several subsystems, not yet started."""
    return TellinServer(
        tmp_path,
        options={
            "Subsystem": [
                "sftp internal-sftp -l INFO",
                f"mirror {mirror(97)}",
                "words printf '<%s>' 'a  b' \"$USER\"; exit 9",
            ]
        },
    )


def test_a_subsystem_has_its_arguments_its_streams_and_its_status(
    various: TellinServer, tmp_path: Path
) -> None:
    client = TellinClient(tmp_path)
    with various as server:
        mirrored = client.run(server.target, "mirror", subsystem=True, input=DATA)
        words = client.run(server.target, "words", subsystem=True)
    assert (mirrored.stdout == DATA, len(mirrored.stderr)) == (True, len(DATA))
    assert words.stdout.decode() == f"<a  b><{server.user}>"
    assert words.status == 9


def test_internal_sftp_is_accepted_by_the_configuration(
    various: TellinServer, tmp_path: Path
) -> None:
    with various as server:
        config = server.directory / "sshd_config"
        tested = tellin("sshd", "-t", "-f", config)
        dumped = tellin("sshd", "-T", "-f", config)
    assert (tested.returncode, tested.stdout, tested.stderr) == (0, b"", b"")
    assert b"subsystem sftp internal-sftp -l INFO\n" in dumped.stdout


@pytest.mark.parametrize("name", ["nothing-of-that-name", "echo extra"])
@pytest.mark.parametrize("client", ["tellin", pytest.param("ssh", marks=pytest.mark.peer("ssh"))])
def test_a_subsystem_that_is_not_there_is_refused(
    client: str, name: str, running: Running, make_client: Make
) -> None:
    done = make_client(client).run(running("tellin").target, name, subsystem=True, input=b"\0")
    assert done.status == 255
    assert done.stdout == b""
    assert done.stderr.split() == b"subsystem request failed on channel 0".split()


@pytest.mark.peer("sshd")
def test_a_subsystem_that_openssh_refuses_is_told_in_its_words(
    running: Running, make_client: Make
) -> None:
    target = running("sshd").target
    done = make_client("tellin").run(target, "nothing-of-that-name", subsystem=True)
    assert (done.status, done.stdout) == (255, b"")
    assert done.stderr.split() == b"subsystem request failed on channel 0".split()


@pytest.mark.peer("asyncssh")
def test_a_refused_subsystem_leaves_the_connection_alone(running: Running) -> None:
    found = asyncssh_task(
        "refused", running("tellin").target, subsystem="nothing", command="echo on"
    )
    assert found == {"refused": True, "after": "on\n"}
