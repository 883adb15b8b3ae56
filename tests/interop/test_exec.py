# SPDX-License-Identifier: MIT
"""Commands, both ways with every peer: their streams byte for byte, and how they end."""

import contextlib
import os
import pwd
import random
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.interop.conftest import Make, Running
from tests.interop.mirror import TURNED
from tests.interop.pairs import mirror, pairs
from tests.interop.peers import Client, Target
from tests.interop.scripts import asyncssh_task

MEBIBYTE = 1 << 20
EVERY_MEETING = pytest.mark.parametrize(("client", "server"), pairs())
# More than every buffer and window on the way together.
MUCH = random.Random(16).randbytes(16 * MEBIBYTE)


@pytest.fixture
def meeting(
    client: str, server: str, running: Running, make_client: Make
) -> tuple[Client, Target]:
    return make_client(client), running(server).target


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        # A zombie whose parent has not looked yet is gone as well.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@contextlib.contextmanager
def started(meeting: tuple[Client, Target], command: str, **streams: object) -> Iterator[object]:
    """The client as a process of which the test holds the streams; it does not outlive the test."""
    client, target = meeting
    argv = [str(word) for word in client.argv(target, command)]
    environment = client.environment(target)
    with subprocess.Popen(  # type: ignore[call-overload]
        argv, env=environment, start_new_session=True, stderr=subprocess.PIPE, **streams
    ) as process:
        try:
            yield process
        finally:
            process.kill()


# ------------------------------------------------------------------------- bytes


@pytest.mark.sampled(2)
@EVERY_MEETING
@pytest.mark.parametrize(
    ("size", "block"),
    [
        (0, 1),
        (1, 1),
        pytest.param(2, 1, marks=pytest.mark.slow),
        pytest.param(255, 17, marks=pytest.mark.slow),
        pytest.param(32_768, 32_768, marks=pytest.mark.slow),
        (32_769, 997),
        pytest.param(65_535, 4_096, marks=pytest.mark.slow),
        pytest.param(MEBIBYTE, 65_536, marks=pytest.mark.slow),
        pytest.param(2 * MEBIBYTE + 1, 65_537, marks=pytest.mark.slow),
        pytest.param(3_333_333, 333, marks=pytest.mark.slow),
        (16 * MEBIBYTE, 40_961),
    ],
)
def test_both_streams_bring_back_exactly_what_was_sent(
    meeting: tuple[Client, Target], size: int, block: int
) -> None:
    client, target = meeting
    sent = MUCH[:size]
    done = client.run(target, mirror(block), input=sent, seconds=110)
    assert done.status == 0, done.stderr[-2000:]
    # Compared apart from the assert: nobody wants to see 16 MiB.
    same = done.stdout == sent, done.stderr.translate(TURNED) == sent
    assert same == (True, True), (len(done.stdout), len(done.stderr))


@EVERY_MEETING
def test_input_in_odd_blocks_arrives_in_order(meeting: tuple[Client, Target]) -> None:
    sent = MUCH[: MEBIBYTE // 2 + 3]
    sizes = random.Random(7)

    def feed(descriptor: int) -> None:
        at = 0
        with contextlib.suppress(BrokenPipeError):
            while at < len(sent):
                end = at + sizes.choice((1, 13, 255, 4_097, 8_191, 32_767))
                at += os.write(descriptor, sent[at:end])
        os.close(descriptor)

    ours, theirs = os.pipe()
    feeding = threading.Thread(target=feed, args=(theirs,))
    with started(meeting, "cat", stdin=ours, stdout=subprocess.PIPE) as process:
        os.close(ours)
        feeding.start()
        back, errors = process.communicate(timeout=60)
        feeding.join()
    assert process.returncode == 0, errors
    assert (back == sent) is True, len(back)


# ------------------------------------------------------------------------- endings


@EVERY_MEETING
def test_the_exit_status_is_the_commands(meeting: tuple[Client, Target]) -> None:
    client, target = meeting
    environment = client.environment(target)
    # The client's files are made once; the runs are then side by side.
    argv = [str(word) for word in client.argv(target, "exit $STATUS")]
    wanted = (0, 1, 44, 255)

    def end(status: int) -> int:
        words = [word.replace("$STATUS", str(status)) for word in argv]
        done = subprocess.run(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=60,
            start_new_session=True,
        )
        return done.returncode

    with ThreadPoolExecutor(2) as pool:
        assert tuple(pool.map(end, wanted)) == wanted


# What a client that has no other way to say it makes of a command that died of SIGTERM: OpenSSH
# and tellin -1 in eight bits, dbclient nothing, plink a status of its own.
DIED = {"dbclient": 0, "plink": 128}


@pytest.mark.parametrize(
    ("client", "server"), pairs(servers=("sshd", "dropbear", "asyncssh", "tellin"))
)
def test_a_command_that_dies_of_a_signal_has_no_exit_status(
    meeting: tuple[Client, Target],
) -> None:
    client, target = meeting
    done = client.run(target, "echo before; kill -TERM $$; echo behind")
    assert done.stdout == b"before\n"
    assert done.status == DIED.get(client.name, 255)
    if client.name in {"asyncssh", "ssh2"}:
        assert done.signal == "TERM"


@pytest.mark.parametrize(
    "server",
    [
        "tellin",
        *(pytest.param(n, marks=pytest.mark.peer(n)) for n in ("sshd", "dropbear", "asyncssh")),
    ],
)
def test_tellin_names_the_signal_when_asked_for_details(
    server: str, running: Running, make_client: Make
) -> None:
    options = {"LogLevel": "VERBOSE"}
    done = make_client("tellin").run(running(server).target, "kill -USR1 $$", options=options)
    assert done.status == 255
    assert b"signal USR1" in done.stderr


@pytest.mark.peer("asyncssh")
@pytest.mark.parametrize("name", ["INT", "TERM", "USR1"])
def test_a_signal_reaches_the_command(name: str, running: Running, tmp_path: Path) -> None:
    command = f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    told = asyncssh_task("signal", running("tellin").target, command=command, signal=name)
    assert told == {"status": 9, "signal": None, "output": f"got {name}\n"}


@pytest.mark.peer("asyncssh")
def test_a_signal_that_nobody_catches_ends_the_command(running: Running) -> None:
    command = "echo ready; exec sleep 300"
    told = asyncssh_task("signal", running("tellin").target, command=command, signal="KILL")
    assert told == {"status": None, "signal": "KILL", "output": ""}


# ------------------------------------------------------------------------- early ends


# The others read on in silence: dbclient and AsyncSSH always, OpenSSH unless the server is its own,
# since it tells nobody else that its reader has gone (eow@openssh.com, by the server's version).
@pytest.mark.parametrize(
    ("client", "server"), pairs(clients=("plink", "paramiko", "ssh2", "tellin"))
)
def test_a_reader_that_leaves_early_ends_the_command(meeting: tuple[Client, Target]) -> None:
    """``ssh host yes | head -c 1``."""
    with started(
        meeting, "echo $$; exec yes", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        remote = int(process.stdout.readline())
        assert process.stdout.read(1) == b"y"
        process.stdout.close()
        process.wait(60)
        wait_for(lambda: is_gone(remote), "the command still runs")


@EVERY_MEETING
@pytest.mark.parametrize("command", ["head -c 1", "exec <&-; echo closed"])
def test_a_command_that_reads_no_more_does_not_hang_its_client(
    meeting: tuple[Client, Target], command: str
) -> None:
    """``cat large | ssh host head -c 1``."""
    client, target = meeting
    done = client.run(target, command, input=MUCH[: 4 * MEBIBYTE])
    assert done.stdout == (MUCH[:1] if command.startswith("head") else b"closed\n")
    assert done.status == 0


@EVERY_MEETING
def test_input_that_never_ends_does_not_outlive_the_command(
    meeting: tuple[Client, Target],
) -> None:
    ours, theirs = os.pipe()
    try:
        with started(meeting, "echo done; exit 5", stdin=ours, stdout=subprocess.PIPE) as process:
            assert process.stdout.read() == b"done\n"
            assert process.wait(60) == 5
    finally:
        os.close(ours)
        os.close(theirs)


@EVERY_MEETING
@pytest.mark.parametrize("command", ["cat", "yes"])
def test_a_client_that_is_killed_takes_its_command_along(
    meeting: tuple[Client, Target], command: str
) -> None:
    with started(
        meeting, f"echo $$; exec {command}", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        remote = int(process.stdout.readline())
        assert not is_gone(remote)
        process.kill()
        wait_for(lambda: is_gone(remote), "the command still runs")


# ------------------------------------------------------------------------- the surroundings

# How each client is told to send a variable.
VARIABLES: dict[str, Callable[[str, str], dict[str, object]]] = {
    "ssh": lambda name, value: {"SetEnv": f'"{name}={value}"'},
    "tellin": lambda name, value: {"SetEnv": f'"{name}={value}"'},
    "plink": lambda name, value: {"Environment": f"{name}={value},"},
    "asyncssh": lambda name, value: {"env": {name: value}},
    "paramiko": lambda name, value: {"env": {name: value}},
    "ssh2": lambda name, value: {"env": {name: value}},
}


@pytest.mark.parametrize(
    ("client", "server"), pairs(clients=VARIABLES, servers=("sshd", "asyncssh", "tellin"))
)
def test_a_variable_that_the_server_accepts_is_set(meeting: tuple[Client, Target]) -> None:
    client, target = meeting
    options = VARIABLES[client.name]("TELLIN_WORD", "a value")
    done = client.run(target, 'echo "<$TELLIN_WORD>"', options=options)
    assert done.stdout == b"<a value>\n", done.stderr


@pytest.mark.parametrize(
    ("client", "server"), pairs(clients=VARIABLES, servers=("sshd", "tellin"))
)
def test_a_variable_that_the_server_does_not_accept_is_left_out(
    meeting: tuple[Client, Target],
) -> None:
    client, target = meeting
    options = VARIABLES[client.name]("LD_LIBRARY_PATH", "/elsewhere")
    done = client.run(target, 'echo "<$LD_LIBRARY_PATH>"', options=options)
    assert done.stdout == b"<>\n", done.stderr


def test_the_command_knows_where_it_is_and_who_called(running: Running, make_client: Make) -> None:
    target = running("tellin").target
    command = 'echo "$USER|$LOGNAME|$SHELL|$HOME|$PWD"; echo "$SSH_CLIENT|$SSH_CONNECTION"'
    said = make_client("tellin").run(target, command).stdout.decode().splitlines()
    user, logname, shell, home, directory = said[0].split("|")
    assert user == logname == target.user
    assert home == directory == pwd.getpwuid(os.getuid()).pw_dir
    assert shell
    client, connection = (words.split() for words in said[1].split("|"))
    assert (client[0], client[2]) == ("127.0.0.1", str(target.port))
    assert connection == ["127.0.0.1", client[1], "127.0.0.1", str(target.port)]


@pytest.mark.peer("sshd")
@pytest.mark.parametrize("server", ["sshd", "tellin"])
@pytest.mark.parametrize(
    "words",
    [
        ["echo", "a  b", "'c  d'"],
        ["printf", "%s.", "$((1+1))", "'$HOME'", '"*"', ";", "echo", "\\$x"],
        ["echo", "-n", "-e", "\\101"],
        ["printf '%s' 'äöü €'"],
    ],
    ids=["spaces", "quotes", "dashes", "unicode"],
)
def test_the_words_of_a_command_are_joined_as_ssh_joins_them(
    server: str, words: Sequence[str], running: Running, make_client: Make
) -> None:
    target = running(server).target
    client = make_client("tellin")
    argv = [*client.argv(target, words[0]), *words[1:]]
    done = subprocess.run(
        list(map(str, argv)),
        env=client.environment(target),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
    # The account's shell, not $SHELL: of those that there are, each has an echo of its own.
    shell = pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
    here = subprocess.run([shell, "-c", " ".join(words)], capture_output=True, check=False)
    assert (done.stdout, done.returncode) == (here.stdout, here.returncode)


# ------------------------------------------------------------------------- in the background


@EVERY_MEETING
def test_a_process_left_in_the_background_keeps_running_and_holds_nobody(
    meeting: tuple[Client, Target],
) -> None:
    client, target = meeting
    command = "sleep 300 </dev/null >/dev/null 2>&1 & echo $!"
    done = client.run(target, command, seconds=60)
    left = int(done.stdout)
    try:
        assert done.status == 0
        assert not is_gone(left)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)


@pytest.mark.parametrize(
    ("client", "server"), pairs(clients=("ssh", "tellin"), servers=("sshd", "tellin"))
)
def test_output_of_a_background_process_arrives_behind_the_exit(
    meeting: tuple[Client, Target], tmp_path: Path
) -> None:
    """The channel stays while somebody may write, and the status is still that of the command."""
    gate = tmp_path / "gate"
    command = f"(until [ -e {shlex.quote(str(gate))} ]; do sleep 0.02; done; echo late) & echo early; exit 6"
    with started(meeting, command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"early\n"
        gate.touch()
        assert process.stdout.read() == b"late\n"
        assert process.wait(60) == 6


# ------------------------------------------------------------------------- many at once


@pytest.mark.peer("ssh")
def test_a_server_serves_many_users_at_once(running: Running, make_client: Make) -> None:
    target = running("tellin").target
    client = make_client("ssh")
    client.run(target, "true")
    data = MUCH[:300_007]
    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(client.run, target, "cat", input=data) for _ in range(16)]
        ended = [run.result() for run in runs]
    assert [(done.status, done.stderr[-300:]) for done in ended if done.status] == []
    assert all(done.stdout == data for done in ended)
