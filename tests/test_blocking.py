# SPDX-License-Identifier: MIT
import inspect
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.library import HOST_KEY, OTHER_KEY, USER_KEY, pattern

import tellin
from tellin import blocking
from tellin.client.options import ConnectOptions, RunOptions, StartOptions
from tellin.runtime.portal import shared_portal


def answer(process: blocking.ServerProcess[bytes]) -> int:
    """What the threads of a blocking server do."""
    word, _, rest = (process.command or "").partition(" ")
    if word == "cat":
        for chunk in process.stdin.chunks():
            process.stdout.write(chunk)
        return 0
    if word == "ask":
        process.stderr.write(b"who? ")
        name = process.stdin.readline()
        process.stdout.write(b"hello " + name)
        return 4
    if word == "sleep":
        time.sleep(float(rest))
    if word == "exit":
        process.exit(int(rest))
    return 0


@pytest.fixture(scope="module")
def server() -> Iterator[blocking.Server]:
    with blocking.serve(
        host_keys=[HOST_KEY], authorized_keys=USER_KEY.public, session=answer, encoding=None
    ) as made:
        yield made


def options(server: blocking.Server, **changes: Any) -> dict[str, Any]:
    return {
        "port": server.port,
        "user": "someone",
        "keys": [USER_KEY],
        "host_keys": HOST_KEY.public,
        "config": None,
        **changes,
    }


@pytest.fixture
def connection(server: blocking.Server) -> Iterator[blocking.Connection]:
    with blocking.connect("127.0.0.1", **options(server)) as made:
        yield made


def test_a_command_is_run(connection: blocking.Connection) -> None:
    data = pattern(3_000_001)
    done = connection.run("cat", input=data, encoding=None)
    assert (done.stdout, done.exit_status) == (data, 0)
    assert connection.run("ask", input="you\n").stdout == "hello you\n"
    with pytest.raises(tellin.CommandFailed):
        connection.run("exit 3", check=True)
    with pytest.raises(tellin.TimedOut):
        connection.run("sleep 0.3", timeout=0.05)


def test_a_process_is_talked_to(connection: blocking.Connection) -> None:
    with connection.start("ask") as process:
        process.stdin.write("me\n")
        assert process.stdout.read() == "hello me\n"
        assert process.stderr.read() == "who? "
        assert process.wait().exit_status == 4
        assert (process.exit_status, process.exit_signal) == (4, None)
    with connection.start("cat") as process:
        process.stdin.writelines(["one\n", "two\n", "three; four"])
        process.stdin.close()
        assert process.stdout.readline() == "one\n"
        assert process.stdout.readexactly(2) == "tw"
        assert process.stdout.readuntil(";") == "o\nthree;"
        assert list(process.stdout) == [" four"]
    data = pattern(5_000_000)
    with connection.start("cat", encoding=None) as cat:
        assert cat.communicate(data, check=True, timeout=60).stdout == data
    with connection.start("cat", encoding=None) as cat:
        cat.stdin.write(b"abc")
        cat.stdin.close()
        assert b"".join(cat.stdout.chunks()) == b"abc"


def test_streams_are_redirected(connection: blocking.Connection, tmp_path: Path) -> None:
    data = pattern(500_000)
    source = tmp_path / "source"
    source.write_bytes(data)
    with (tmp_path / "target").open("wb") as file:
        connection.run("cat", stdin=source, stdout=file)
    assert (tmp_path / "target").read_bytes() == data
    first = connection.start("cat", stdin=source, encoding=None)
    second = connection.start("cat", stdin=first.stdout, encoding=None)  # type: ignore[arg-type]
    assert second.wait().stdout == data
    for end in ({"stdout": print}, {"stdin": iter([b"x"])}, {"stderr": _Sink()}):
        with pytest.raises(tellin.UsageError, match="loop's own thread"):
            connection.run("cat", **end)  # type: ignore[call-overload]


class _Sink:
    def take(self, views: list[memoryview]) -> int:
        return sum(map(len, views))


def test_a_connection_tells_about_itself(
    connection: blocking.Connection, server: blocking.Server
) -> None:
    assert (connection.host, connection.user, connection.banner) == ("127.0.0.1", "someone", "")
    assert connection.address == ("127.0.0.1", server.port)
    assert connection.host_key == HOST_KEY.public
    assert connection.server_version.startswith("SSH-2.0-")
    assert connection.algorithms is not None
    assert (connection.closed, connection.error) == (False, None)
    assert connection.ping() > 0
    connection.rekey()
    assert connection.run("exit 5").exit_status == 5


def test_a_connection_stays_alive_between_the_calls(server: blocking.Server) -> None:
    with blocking.connect("127.0.0.1", **options(server, keepalive=0.05)) as connection:
        before = connection._inner.core._transport.reader.sequence
        time.sleep(0.3)
        assert connection._inner.core._transport.reader.sequence > before + 2
        assert connection.run("exit 0").ok


def test_what_goes_wrong_is_raised_here(server: blocking.Server) -> None:
    with pytest.raises(tellin.HostKeyUnknown, match="no host key policy"):
        blocking.connect("127.0.0.1", port=server.port, config=None)
    with pytest.raises(tellin.AuthenticationFailed):
        blocking.connect("127.0.0.1", **options(server, keys=[OTHER_KEY]))
    with pytest.raises(tellin.ConnectFailed):
        blocking.connect("127.0.0.1", **options(server, port=1))
    connection = blocking.connect("127.0.0.1", **options(server))
    connection.close()
    assert connection.closed
    with pytest.raises(tellin.ConnectionLost):
        connection.run("exit 0")
    connection.close()


def test_functions_are_asked_in_the_thread_that_waits(server: blocking.Server) -> None:
    asked: list[threading.Thread] = []

    def ask(question: Any) -> bool:
        asked.append(threading.current_thread())
        # Nothing keeps it from using the library itself.
        return bool(blocking.connect("127.0.0.1", **options(server)).ping())

    with blocking.connect("127.0.0.1", **options(server, host_keys=ask)):
        pass
    assert asked == [threading.current_thread()]

    def fail(question: Any) -> bool:
        raise LookupError("asked and failed")

    with pytest.raises(LookupError, match="asked and failed"):
        blocking.connect("127.0.0.1", **options(server, host_keys=fail))


def test_passwords_are_asked_for_too() -> None:
    here = threading.current_thread()
    seen: list[threading.Thread] = []

    def check(user: str, password: str) -> bool:
        seen.append(threading.current_thread())
        return (user, password) == ("someone", "right")

    def know() -> str:
        assert threading.current_thread() is here
        return "right"

    with (
        blocking.serve(host_keys=[HOST_KEY], password=check, session=answer) as server,
        blocking.connect("127.0.0.1", **options(server, keys=(), password=know)) as connection,
    ):
        assert connection.run("exit 6").exit_status == 6
    assert seen
    assert not {here, shared_portal()._thread} & set(seen)


def test_many_threads_share_the_loop(server: blocking.Server) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        data = pattern(100_000 + number)
        with blocking.connect("127.0.0.1", **options(server)) as connection:
            for _ in range(3):
                done = connection.run("cat", input=data, encoding=None)
                if done.stdout != data:
                    wrong.append(done)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sum(thread.name == "tellin" for thread in threading.enumerate()) == 1


def test_the_loop_s_own_thread_may_not_wait(connection: blocking.Connection) -> None:
    caught: list[BaseException] = []

    async def misuse() -> None:
        try:
            connection.ping()
        except tellin.UsageError as error:
            caught.append(error)

    shared_portal().call(misuse)
    assert "own loop" in str(caught[0])


def test_a_server_in_threads_serves_and_survives(server: blocking.Server) -> None:
    assert server.addresses == [("127.0.0.1", server.port)]

    def fail(process: blocking.ServerProcess[str]) -> int:
        raise LookupError("a session failed")

    def tell(process: blocking.ServerProcess[str]) -> int:
        shown = process.terminal.name if process.terminal else "none"
        process.stdout.write(f"{process.user} {process.subsystem} {shown} {process.env}")
        assert process.key == USER_KEY.public
        return 0

    with (
        blocking.serve(
            host_keys=[HOST_KEY],
            authorized_keys=USER_KEY.public,
            session=fail,
            subsystems={"tell": tell},
        ) as made,
        blocking.connect("127.0.0.1", **options(made)) as connection,
    ):
        assert connection.run("x", term="vt100").exit_status == 1
        with connection.subsystem("tell", env={"LANG": "C"}) as process:
            assert process.stdout.read() == b"someone tell none {'LANG': 'C'}"
        with pytest.raises(tellin.RequestRefused):
            connection.subsystem("sftp")
        assert connection.start("y").wait().exit_status == 1


def test_the_same_arguments_are_taken_on_both_sides() -> None:
    def keywords(function: Any) -> set[str]:
        return {
            name
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        }

    assert keywords(tellin.connect) == set(ConnectOptions.__annotations__)
    assert keywords(tellin.Connection.run) == {"encoding", *RunOptions.__annotations__}
    assert keywords(tellin.Connection.start) == {"encoding", *StartOptions.__annotations__}
    assert keywords(tellin.Connection.shell) == {"encoding", *StartOptions.__annotations__}


def test_every_method_of_the_coroutines_is_here() -> None:
    def names(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    inside = {"core", "link", "loop", "dispatch", "handle", "ended", "say"}
    assert names(tellin.Connection) - inside - {"aclose"} <= names(blocking.Connection)
    assert names(tellin.Process) - {"aclose", "command"} <= names(blocking.Process)


# --- in processes of their own


_START = """
import os, signal, sys, threading, time
import tellin
from tellin import blocking
from tests.library import HOST_KEY, USER_KEY

server = blocking.serve(host_keys=[HOST_KEY], authorized_keys=USER_KEY.public,
                        session=tellin.RunCommands(shell="/bin/sh"))
connection = blocking.connect("127.0.0.1", port=server.port, user="me", keys=[USER_KEY],
                              host_keys=HOST_KEY.public, config=None)
"""


def _python(text: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _START + textwrap.dedent(text)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_cancels_what_is_waited_for_and_nothing_else() -> None:
    child = _python(
        """
        began = time.monotonic()
        try:
            print("ready", flush=True)
            connection.run("sleep 60")
        except KeyboardInterrupt:
            print("interrupted", time.monotonic() - began < 30, flush=True)
        print(connection.run("echo alive").stdout.strip())
        """
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    out, errors = child.communicate(timeout=60)
    assert (out, errors) == ("interrupted True\nalive\n", "")
    assert child.returncode == 0


def test_a_forked_child_is_told_that_it_has_no_connection() -> None:
    child = _python(
        """
        port = server.port
        pid = os.fork()
        if pid == 0:
            try:
                connection.run("true")
            except tellin.UsageError as error:
                print("child:", error, "/", error.hint, flush=True)
            # A connection of its own works.
            with blocking.connect("127.0.0.1", port=port,
                                  user="me", keys=[USER_KEY], host_keys=HOST_KEY.public,
                                  config=None) as own:
                print("child:", own.run("echo own").stdout.strip(), flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        print("parent:", connection.run("echo mine").stdout.strip(), flush=True)
        """
    )
    out, errors = child.communicate(timeout=60)
    assert errors == ""
    assert out.splitlines() == [
        "child: this belongs to the process that was forked / connect again in the child",
        "child: own",
        "parent: mine",
    ]


def test_a_program_that_ends_without_closing_ends_cleanly() -> None:
    child = _python("print(connection.run('echo bye').stdout.strip())")
    out, errors = child.communicate(timeout=60)
    assert (child.returncode, out, errors) == (0, "bye\n", "")


def test_importing_tellin_starts_no_thread() -> None:
    code = "import threading, tellin, tellin.blocking; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
