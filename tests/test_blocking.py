# SPDX-License-Identifier: MIT
import asyncio
import contextlib
import inspect
import io
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
from tellin.client import options as client_options
from tellin.client.forwarding.remote_forwardings import RemoteVerbs
from tellin.client.options import ConnectOptions, RunOptions, StartOptions, SubsystemOptions
from tellin.runtime.portal import Portal, shared_portal
from tellin.server.serve import ServeOptions


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


def test_lines_that_were_fetched_together_are_read_in_any_way(
    connection: blocking.Connection,
) -> None:
    text = "".join(f"line {number}\n" for number in range(2000)) + "the rest"
    lines = text.splitlines(keepends=True)
    with connection.start("cat") as process:
        process.stdin.write(text)
        process.stdin.close()
        # All of it is here before the first line is read.
        while not process._inner.stdout._finished:
            time.sleep(0.01)
        out = process.stdout
        for number, line in enumerate(out):
            assert line == lines[number]
            if number == 9:
                break
        assert process.stdout.readline() == lines[10]
        assert out.read(3) == "lin"
        assert out.readexactly(3) == "e 1"
        assert out.readline() == "1\n"
        assert out.readuntil("2") == "line 12"
        assert [out.readline(), out.readline()] == ["\n", "line 13\n"]
        second = connection.start("cat")
        assert process.wait().stdout == "".join(lines[14:])
        second.close()
    with connection.start("cat", encoding=None) as process:
        process.stdin.write(b"a\nb\nc")
        process.stdin.close()
        while not process._inner.stdout._finished:
            time.sleep(0.01)
        assert process.stdout.readline() == b"a\n"
        assert not process.stdout.at_end
        done = connection.run("cat", stdin=process.stdout)
        assert done.stdout == "b\nc"
    with connection.start("cat") as process:
        process.stdin.write("x\n\ny")
        process.stdin.close()
        assert [*process.stdout] == ["x\n", "\n", "y"]
        assert (process.stdout.readline(), process.stdout.read_nowait()) == ("", "")
        assert process.stdout.at_end


def test_streams_are_redirected(connection: blocking.Connection, tmp_path: Path) -> None:
    data = pattern(500_000)
    source = tmp_path / "source"
    source.write_bytes(data)
    with (tmp_path / "target").open("wb") as file:
        connection.run("cat", stdin=source, stdout=file)
    assert (tmp_path / "target").read_bytes() == data
    first = connection.start("cat", stdin=source, encoding=None)
    second = connection.start("cat", stdin=first.stdout, encoding=None)
    assert second.wait().stdout == data
    third = connection.start("cat", encoding=None)
    connection.run("cat", input=data, stdout=third.stdin)
    assert third.wait().stdout == data
    for end in ({"stdout": print}, {"stdin": iter([b"x"])}, {"stderr": _Sink()}):
        with pytest.raises(tellin.UsageError, match="loop's own thread"):
            connection.start("cat", **end)  # type: ignore[call-overload]


def test_functions_get_output_and_give_input_in_the_thread_that_waits(
    connection: blocking.Connection,
) -> None:
    data = pattern(3_000_001)
    seen: set[threading.Thread] = set()

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(data), 100_000):
            seen.add(threading.current_thread())
            yield b""
            yield data[at : at + 100_000]

    kept = bytearray()

    def keep(view: memoryview) -> None:
        seen.add(threading.current_thread())
        assert connection.ping() > 0  # nothing keeps it from using the library itself
        kept.extend(view)

    connection.run("cat", stdin=pieces(), stdout=keep)
    assert kept == data
    assert seen == {threading.current_thread()}
    memory = io.BytesIO()
    done = connection.run("ask", stdin=io.BytesIO(b"you\n"), stdout=memory, stderr=memory)
    assert (done.exit_status, memory.getvalue()) in [
        (4, b"who? hello you\n"),
        (4, b"hello you\nwho? "),
    ]

    def fail(*words: object) -> Any:
        raise LookupError("out of order")

    def stop(*words: object) -> Any:
        raise StopIteration

    for end in ({"stdout": fail}, {"stdin": map(fail, [1])}):
        with pytest.raises(LookupError, match="out of order"):
            connection.run("cat", **{"input": None, "stdin": [data], **end})  # type: ignore[call-overload]
    with pytest.raises(RuntimeError, match="StopIteration"):
        connection.run("cat", input=b"x", stdout=stop)
    for wrong in ({"stdout": _Sink()}, {"stdin": object()}):
        with pytest.raises(tellin.UsageError, match="cannot"):
            connection.run("cat", **wrong)  # type: ignore[call-overload]
    assert connection.run("exit 0").ok


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


def test_threads_share_a_connection_and_a_process(connection: blocking.Connection) -> None:
    data = pattern(2_000_000)
    results: dict[int, bool] = {}

    def work(number: int) -> None:
        results[number] = all(
            connection.run("cat", input=data[: 100_000 + number], encoding=None).stdout
            == data[: 100_000 + number]
            for _ in range(3)
        )

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    with connection.start("cat", encoding=None) as process:

        def write() -> None:
            process.stdin.write(data)
            process.stdin.close()

        writer = threading.Thread(target=write)
        for thread in (*threads, writer):
            thread.start()
        assert process.stdout.read() == data
        for thread in (*threads, writer):
            thread.join()
    assert results == dict.fromkeys(range(8), True)


def test_two_threads_cannot_read_one_stream(connection: blocking.Connection) -> None:
    with connection.start("cat") as process:
        process.stdin.write("first\n")
        assert process.stdout.readline() == "first\n"
        got: list[str] = []
        reading = threading.Thread(target=lambda: got.append(process.stdout.readline()))
        reading.start()
        while process._inner.stdout._waiter is None:
            time.sleep(0.01)
        with pytest.raises(tellin.UsageError, match="somebody else"):
            process.stdout.readline()
        process.stdin.write("second\n")
        reading.join()
        assert got == ["second\n"]


def test_what_a_thread_waits_for_ends_when_another_closes_the_connection(
    server: blocking.Server,
) -> None:
    connection = blocking.connect("127.0.0.1", **options(server))
    process = connection.start("sleep 0.2")
    raised: list[BaseException] = []

    def wait(call: Any) -> None:
        try:
            call()
        except tellin.ConnectionLost as error:
            raised.append(error)

    waiting = [
        threading.Thread(target=wait, args=(call,))
        for call in (process.stdout.read, process.wait, lambda: connection.run("sleep 60"))
    ]
    for thread in waiting:
        thread.start()
    while len(connection._inner.core.channels) < 2:
        time.sleep(0.01)
    connection.close()
    for thread in waiting:
        thread.join()
    assert len(raised) == 3
    for call in (
        lambda: connection.run("exit 0"),
        lambda: connection.start("exit 0"),
        connection.ping,
        process.stdout.read,
        lambda: process.stdin.write("x"),
        process.wait,
    ):
        with pytest.raises(tellin.ConnectionLost):
            call()
    # What ends is ended as often as one likes.
    connection.rekey()
    connection.wait_closed()
    process.terminate()
    process.close()
    connection.close()


def test_a_server_stops_taking_connections_and_closes_within_its_grace() -> None:
    running = threading.Event()
    release = threading.Event()

    def stubborn(process: blocking.ServerProcess[str]) -> int:
        running.set()
        release.wait()
        return 0

    made = blocking.serve(host_keys=[HOST_KEY], authorized_keys=USER_KEY.public, session=stubborn)
    connection = blocking.connect("127.0.0.1", **options(made))
    process = connection.start("x")
    running.wait()
    port = made.port
    made.stop()
    with pytest.raises(tellin.ConnectFailed):
        blocking.connect("127.0.0.1", **options(made, port=port))
    assert connection.ping() > 0
    made.close(grace=1)
    with pytest.raises(tellin.ConnectionLost):
        process.wait()
    release.set()
    made.wait_closed()


def test_a_session_may_end_like_a_program(caplog: pytest.LogCaptureFixture) -> None:
    def leave(process: blocking.ServerProcess[str]) -> int:
        word = process.command or ""
        sys.exit({"none": None, "text": "a text"}.get(word, 7))

    def stop(user: str, password: str) -> bool:
        raise StopIteration

    def leave_too(user: str, password: str) -> bool:
        sys.exit(3)

    given: dict[str, Any] = {"host_keys": [HOST_KEY], "session": leave}
    with (
        blocking.serve(authorized_keys=USER_KEY.public, **given) as made,
        blocking.connect("127.0.0.1", **options(made)) as connection,
    ):
        said = [connection.run(word).exit_status for word in ("none", "text", "seven")]
    assert said == [0, 1, 7]
    for check in (stop, leave_too):
        with (
            blocking.serve(password=check, **given) as made,
            pytest.raises(tellin.AuthenticationFailed),
        ):
            blocking.connect("127.0.0.1", **options(made, keys=(), password="x"))
    assert "StopIteration" in caplog.text
    assert "sys.exit()" in caplog.text


def test_the_loop_s_own_thread_may_not_wait(connection: blocking.Connection) -> None:
    caught: list[BaseException] = []

    async def misuse() -> None:
        try:
            connection.ping()
        except tellin.UsageError as error:
            caught.append(error)

    shared_portal().call(misuse)
    assert "own loop" in str(caught[0])
    for call in (lambda: connection.run("exit 0"), connection.close):

        async def misuse_too(call: Any = call) -> None:
            with pytest.raises(tellin.UsageError, match="own loop"):
                call()

        shared_portal().call(misuse_too)
    assert connection.run("exit 0").ok


def test_whoever_waits_hears_of_a_loop_that_has_ended() -> None:
    portal = Portal()
    calls: list[str] = []

    async def wait() -> None:
        calls.append("began")
        await asyncio.get_running_loop().create_future()

    def work() -> None:
        with pytest.raises(tellin.UsageError, match="has ended"):
            portal.call(wait)
        calls.append("heard")

    thread = threading.Thread(target=work)
    thread.start()
    while not calls:
        time.sleep(0.01)
    portal.tell(sys.exit)  # what only a signal, or a function that is mad, would do
    thread.join(60)
    assert calls == ["began", "heard"]
    with pytest.raises(tellin.UsageError, match="has ended"):
        portal.call(wait)
    portal._loop.close()


def test_what_an_interrupted_call_opens_is_closed() -> None:
    portal = shared_portal()
    closed = threading.Event()

    class Thing:
        async def aclose(self) -> None:
            closed.set()

    async def open_it(ask: Any) -> Thing:
        # The question is what is interrupted; the answer comes all the same.
        with contextlib.suppress(asyncio.CancelledError):
            await ask()
        return Thing()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        portal.call(open_it, asked={"ask": lambda turn: turn(interrupt)})
    assert closed.wait(60)


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
    assert keywords(tellin.Connection.subsystem) == set(SubsystemOptions.__annotations__)
    for name in ("StartOptions", "RunOptions", "SubsystemOptions"):
        theirs = getattr(client_options, name).__annotations__
        assert set(getattr(blocking.client, name).__annotations__) == set(theirs)
    handlers = {"session", "subsystems"}
    assert keywords(tellin.serve) == {*ServeOptions.__annotations__, *handlers}


def test_every_method_of_the_coroutines_is_here() -> None:
    def names(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    inside = {"core", "link", "loop", "dispatch", "handle", "ended", "say"}
    inside |= {"check_open", "close_behind", "wait_gone", "far", "lead_from_there"}
    whole = names(tellin.Connection) | names(RemoteVerbs)
    assert whole - inside - {"aclose"} <= names(blocking.Connection)
    assert names(tellin.Process) - {"aclose"} <= names(blocking.Process)
    assert names(tellin.Reader) - _FOR_CHANNELS <= names(blocking.Reader)


# What the channel and other streams call.
_FOR_CHANNELS = {
    "empty",
    "lines",
    "unread",
    "check_bytes",
    "check_free",
    "close",
    "divert",
    "drain",
    "finish",
    "pair_with",
    "rest",
    "take",
}


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


def _python(text: str, *, before: str = "") -> subprocess.Popen[str]:
    code = textwrap.dedent(before) + _START + textwrap.dedent(text)
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
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


def test_a_forked_child_leaves_what_its_parent_opened_alone() -> None:
    child = _python(
        """
        with connection, server:
            process = connection.start("cat")
            pid = os.fork()
            if pid == 0:
                with process:
                    print("child leaves", flush=True)
                    sys.exit(5)
            print("status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            process.stdin.write("still mine\\n")
            print(process.stdout.readline().strip(), flush=True)
        """
    )
    out, errors = child.communicate(timeout=60)
    assert (out, errors) == ("child leaves\nstatus 5\nstill mine\n", "")
    assert child.returncode == 0


def test_a_program_ends_while_threads_of_its_own_still_wait() -> None:
    child = _python(
        """
        def work():
            try:
                connection.run("sleep 1000")
            except tellin.TellinError:
                pass  # it may still hear that the program ends

        process = connection.start("cat; sleep 1000")
        threading.Thread(target=work, daemon=True).start()
        while len(connection._inner.core.channels) < 2:
            time.sleep(0.01)
        print("the end", flush=True)
        """,
        # What was registered earlier is called later than the library's own.
        before="""
        import atexit

        @atexit.register
        def late():
            try:
                connection.run("true")
            except tellin.UsageError as error:
                print("late:", error, flush=True)
            connection.close()
            server.close()
        """,
    )
    out, errors = child.communicate(timeout=60)
    assert out == "the end\nlate: the program is ending\n"
    assert errors == ""
    assert child.returncode == 0


def test_a_program_that_ends_without_closing_ends_cleanly() -> None:
    child = _python("print(connection.run('echo bye').stdout.strip())")
    out, errors = child.communicate(timeout=60)
    assert (child.returncode, out, errors) == (0, "bye\n", "")


def test_importing_tellin_starts_no_thread() -> None:
    code = "import threading, tellin, tellin.blocking; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
