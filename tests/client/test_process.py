# SPDX-License-Identifier: MIT
import asyncio
import contextlib
import gc
import gzip
import hashlib
import io
import os
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.library import USER_KEY, awaited, connected, connecting, obey, pattern, serving

import tellin
from tellin.client.sessions import process as process_room
from tellin.connection.windows import INITIAL_WINDOW
from tellin.runtime import channel_streams
from tellin.runtime.channel_streams import Reader

SIZES = [0, 1, 2, 1000, 32767, 32768, 32769, 131071, 131073, 1 << 20, (1 << 24) + 17]


async def _until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.01)


def digest(data: bytes) -> str:
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}"


# --- run


@awaited
async def test_bytes_arrive_as_they_were_at_every_size() -> None:
    async with connected() as connection:
        for size in SIZES:
            data = pattern(size)
            down = await connection.run(f"source {size}", encoding=None)
            assert (down.stdout == data, down.stderr) == (True, b"")
            up = await connection.run("count", input=data)
            assert up.stdout == digest(data)
            both = await connection.run("cat", input=memoryview(data), encoding=None)
            assert both.stdout == data


@awaited
async def test_both_outputs_come_whole() -> None:
    async with connected() as connection:
        for size in (0, 1, 65537, 5_000_001):
            done = await connection.run(f"both {size}", encoding=None)
            assert done.stdout == done.stderr == pattern(size)
            assert done.exit_status == 3


@awaited
async def test_a_result_says_what_came_of_a_command() -> None:
    async with connected() as connection:
        done = await connection.run("say hello")
        assert (done.command, done.host, done.stdout) == ("say hello", "127.0.0.1", "hello")
        assert done.ok
        assert 0 < done.duration < 30
        assert repr(done) == (
            "<Completed 'say hello' on 127.0.0.1: ended with status 0, 5 + 0 written>"
        )
        failed = await connection.run("status 255")
        assert (failed.exit_status, failed.ok, failed.exit_signal) == (255, False, None)
        with pytest.raises(tellin.CommandFailed, match="ended with status 255") as caught:
            failed.check()
        assert caught.value.completed is failed
        with pytest.raises(tellin.CommandFailed):
            await connection.run("status 1", check=True)


@awaited
async def test_text_is_decoded_across_packets_and_bad_bytes_do_not_lose_the_result() -> None:
    text = "größe € 🐍 " * 30_000
    async with connected() as connection:
        done = await connection.run("cat", input=text)
        assert done.stdout == text
        assert (await connection.run("cat", input=b"a\xffb")).stdout == "a\ufffdb"
        latin = await connection.run("cat", input="grün", encoding="latin-1")
        assert latin.stdout == "grün"
        with pytest.raises(UnicodeDecodeError):
            await connection.run("cat", input=b"a\xffb", errors="strict")


@awaited
async def test_a_command_that_takes_too_long_is_ended() -> None:
    ended = asyncio.get_running_loop().create_future()

    async def hang(process: tellin.ServerProcess[bytes]) -> int:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set_result(None)
        return 0

    async with connected(session=hang) as connection:
        with pytest.raises(tellin.TimedOut, match=r"has not ended within 0\.05 s"):
            await connection.run("anything", timeout=0.05)
        await ended
        assert await connection.ping() > 0


@awaited
async def test_a_cancelled_run_ends_its_command_and_nothing_else() -> None:
    async with connected() as connection:
        other = asyncio.ensure_future(connection.run("cat", input=pattern(100_000), encoding=None))
        task = asyncio.ensure_future(connection.run("wait"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await other).stdout == pattern(100_000)
        await _until(lambda: not connection.core.channels)


@awaited
async def test_a_run_cancelled_before_its_channel_opens_leaves_no_channel() -> None:
    async with connected() as connection:
        for turns in range(4):
            task = asyncio.ensure_future(connection.run("wait"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await _until(lambda: not connection.core.channels)


@awaited
async def test_a_hundred_commands_at_once() -> None:
    async with connected() as connection:

        async def one(number: int) -> tuple[bool, str]:
            data = pattern(40_000 + number)
            done = await connection.run("cat", input=data, encoding=None)
            return done.stdout == data, (await connection.run(f"say {number}")).stdout

        said = await asyncio.gather(*(one(number) for number in range(100)))
    assert said == [(True, str(number)) for number in range(100)]


@awaited
async def test_a_refused_session_and_a_refused_command_are_told_apart() -> None:
    async with connected(session=None) as connection:
        with pytest.raises(tellin.RequestRefused, match="exec"):
            await connection.run("anything")
        with pytest.raises(tellin.RequestRefused, match="shell"):
            await connection.shell()
        with pytest.raises(tellin.RequestRefused, match="subsystem"):
            await connection.subsystem("sftp")
    async with connected(max_sessions=1) as connection, connection.start("wait"):
        with pytest.raises(tellin.ChannelRefused, match="too many sessions") as caught:
            await connection.run("status 0")
        assert caught.value.code == 1


@awaited
async def test_input_and_a_nul_byte_are_checked_here() -> None:
    async with connected() as connection:
        with pytest.raises(tellin.UsageError):
            await connection.run("cat", input=b"x", stdin=tellin.Redirect.DEVNULL)
        with pytest.raises(tellin.UsageError):
            await connection.run("a\0b")
        with pytest.raises(tellin.UsageError):
            await connection.run("cat", input="text", encoding=None)


@awaited
async def test_input_that_nobody_reads_does_not_keep_a_command() -> None:
    async with connected() as connection:
        done = await connection.run("status 7", input=pattern(50_000_000))
        assert done.exit_status == 7


# --- terminals, signals, the environment


@awaited
async def test_variables_and_a_terminal_reach_the_command() -> None:
    async with connected() as connection:
        done = await connection.run(
            "describe",
            env={"LANG": "C", "COLOR": "grün"},
            term="vt100",
            term_size=(132, 50),
            term_modes={1: 3},
        )
        assert done.stdout.splitlines() == [
            "someone",
            USER_KEY.public.fingerprint(),
            "vt100 132x50",
            "COLOR=grün",
            "LANG=C",
        ]


@awaited
async def test_signals_breaks_and_sizes_reach_the_command() -> None:
    async with connected() as connection, connection.start("signals", term="xterm") as process:
        assert await process.stdout.readline() == "ready\n"
        process.send_signal("SIGUSR1")
        process.send_signal("INT")
        process.send_break(500)
        process.resize(100, 40)
        for heard in ("USR1", "INT", "break 500", "100x40"):
            assert await process.stdout.readline() == heard + "\n"
        process.terminate()
        done = await process.wait()
        assert (done.exit_status, done.exit_signal) == (None, "TERM")
        assert process.exit_signal == "TERM"
        with pytest.raises(tellin.CommandFailed, match="signal TERM"):
            await process.wait(check=True)


@awaited
async def test_a_shell_is_a_conversation() -> None:
    async with connected() as connection, connection.shell() as shell:
        await shell.stdin.write("one\n")
        assert await shell.stdout.readline() == "> one\n"
        await shell.stdin.writelines(["two\n", "exit\n"])
        assert await shell.stdout.read() == "> two\n> exit\n"
        assert (await shell.wait()).exit_status == 5
        assert shell.exit_status == 5


# --- reading


@awaited
async def test_the_status_does_not_wait_for_unread_output() -> None:
    async with connected() as connection:
        process = await connection.start("both 7000000", encoding=None)
        done = await process.wait()
        assert done.exit_status == 3
        assert done.stdout == done.stderr == pattern(7_000_000)


@awaited
async def test_one_output_is_read_while_the_other_fits_into_the_window() -> None:
    # Both share a window of 2 MiB: what is left of it is enough for the one that is read.
    async def pour(process: tellin.ServerProcess[bytes]) -> None:
        await process.stderr.write(bytes(INITIAL_WINDOW - 10_000))
        for _ in range(400):
            await process.stdout.write(bytes(50_000))

    async with connected(session=pour) as connection:
        process = await connection.start("x", encoding=None)
        assert len(await process.stdout.read()) == 20_000_000
        assert len(await process.stderr.read()) == INITIAL_WINDOW - 10_000
        assert (await process.wait()).exit_status == 0


@awaited
async def test_an_output_that_nobody_reads_is_held_by_its_window_and_no_more(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_streams, "_STALL_SECONDS", 0.05)
    size = 64 << 20
    async with connected() as connection:
        process = await connection.start(f"errors {size}", encoding=None)
        reading = asyncio.ensure_future(process.stdout.read())
        await _until(lambda: "nobody reads the other" in caplog.text)
        pieces = process.stderr._pieces
        assert pieces.length == pieces.held == INITIAL_WINDOW
        await asyncio.sleep(0.1)
        assert (pieces.length, reading.done()) == (INITIAL_WINDOW, False)
        # Whoever reads it lets all go on.
        assert await process.stderr.read() == pattern(size)
        assert await reading == b"done"
        assert (await process.wait()).exit_status == 0
    assert caplog.text.count("nobody reads the other") == 1


@awaited
async def test_whoever_waits_for_a_process_has_both_outputs_kept() -> None:
    size = 20_000_000
    async with connected() as connection:
        ran = await connection.run(f"both {size}", encoding=None)
        waited = await (await connection.start(f"both {size}", encoding=None)).wait()
        process = await connection.start(f"both {size}", encoding=None)
        first, second = await asyncio.gather(process.stdout.read(), process.stderr.read())
        assert (await process.wait()).ok is False
        wanted = pattern(size)
    for done in (ran, waited):
        assert done.stdout == done.stderr == wanted
    assert first == second == wanted


@awaited
async def test_a_process_is_given_its_input_and_all_of_its_output_is_kept() -> None:
    data = pattern(20_000_000)
    async with connected() as connection:
        process = await connection.start("cat", encoding=None)
        assert (await process.communicate(data)).stdout == data
        process = await connection.start("cat")
        done = await process.communicate("größer\n", check=True)
        assert (done.stdout, done.exit_status) == ("größer\n", 0)
        assert (await (await connection.start("cat")).communicate()).stdout == ""
        ended = await connection.start("status 6", encoding=None)
        await ended.wait()
        assert (await ended.communicate(data)).exit_status == 6
        with pytest.raises(tellin.TimedOut):
            await (await connection.start("wait")).communicate(timeout=0.02)
        with pytest.raises(tellin.CommandFailed):
            await (await connection.start("status 6")).communicate(check=True)
        redirected = await connection.start("cat", stdin=io.BytesIO(b"x"), encoding=None)
        with pytest.raises(tellin.UsageError, match="redirected"):
            await redirected.communicate(b"y")
        assert (await redirected.communicate()).stdout == b"x"
        closed = await connection.start("cat")
        closed.stdin.end()
        with pytest.raises(tellin.UsageError, match="closed"):
            await closed.communicate("late")


@awaited
async def test_bytes_that_are_no_text_are_an_error_of_whoever_reads_them() -> None:
    async with connected() as connection, connection.start("cat") as other:
        process = await connection.start("cat", errors="strict")
        await process.stdin.write(b"good\nstill \xff not\n" + bytes(100_000))
        out = process.stdout
        assert await out.readline() == "good\n"
        with pytest.raises(UnicodeDecodeError, match="0xff"):
            await out.readline()
        with pytest.raises(UnicodeDecodeError):
            await anext(out)
        assert await out.read(100) == "still "
        for _ in range(2):
            with pytest.raises(UnicodeDecodeError):
                await out.read(100)
        with pytest.raises(UnicodeDecodeError):
            await out.readexactly(1)
        with pytest.raises(UnicodeDecodeError):
            out.read_nowait()
        with pytest.raises(UnicodeDecodeError):
            await out.read()
        # What follows is dropped, and nothing else is hurt: not the command, not the connection.
        await process.stdin.write(bytes(9_000_000))
        await other.stdin.write("well\n")
        assert await other.stdout.readline() == "well\n"
        with pytest.raises(UnicodeDecodeError):
            await process.communicate()
        assert process.exit_status == 0


@awaited
async def test_text_that_ends_in_the_middle_of_a_character_is_an_error_too() -> None:
    async with connected() as connection:
        process = await connection.start("cat", errors="strict")
        await process.stdin.write("ganz €".encode()[:-1])
        await process.stdin.aclose()
        with pytest.raises(UnicodeDecodeError, match="unexpected end"):
            await process.stdout.read()
        assert await process.stdout.read(100) == "ganz "
        with pytest.raises(UnicodeDecodeError):
            await process.stdout.read(100)
        with pytest.raises(UnicodeDecodeError):
            await process.wait()


@pytest.mark.parametrize("way", ["read", "readline", "readexactly", "iteration"])
@awaited
async def test_whoever_waits_hears_of_bytes_that_are_no_text(way: str) -> None:
    async with connected() as connection, connection.start("cat", errors="strict") as process:
        out = process.stdout

        async def read() -> object:
            if way == "iteration":
                return [line async for line in out]
            return await {"read": out.read, "readline": out.readline}.get(
                way, lambda: out.readexactly(9)
            )()

        reading = asyncio.ensure_future(read())
        await asyncio.sleep(0)
        await process.stdin.write(b"\xe2\x82")
        await process.stdin.write(b"\xff")
        with pytest.raises(UnicodeDecodeError):
            await reading


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig", "shift_jis", "ascii"])
def test_what_stands_before_bytes_that_are_no_text_is_read(encoding: str) -> None:
    window = _Window()
    bad = {"utf-16": b"\x00\xdc\x00\xdc"}.get(encoding, b"\xff")
    good = "good".encode(encoding)
    for at in range(1, len(good) + 1):
        reader: Any = Reader(
            window,  # type: ignore[arg-type]
            window,
            decoder=channel_streams.decoder_for(encoding, "strict"),
        )
        assert reader.take([memoryview(good[:at])]) in {0, at}
        reader.take([memoryview(good[at:] + bad + b"more")])
        shown = reader.read_nowait()
        assert shown == "good" or (encoding == "utf-8-sig" and "good".startswith(shown))
        with pytest.raises(UnicodeDecodeError):
            reader.read_nowait()


@awaited
async def test_a_slow_reader_holds_the_server_back() -> None:
    written = 0

    async def pour(process: tellin.ServerProcess[bytes]) -> int:
        nonlocal written
        for _ in range(1000):
            await process.stdout.write(bytes(100_000))
            written += 100_000
        return 0

    async with (
        connected(session=pour) as connection,
        connection.start("pour", encoding=None) as process,
    ):
        await asyncio.sleep(0.3)
        held = written
        await asyncio.sleep(0.2)
        assert written == held < 8_000_000
        read = 0
        for _ in range(20):
            read += len(await process.stdout.read(50_000))
            await asyncio.sleep(0.01)
        assert written < held + 8_000_000
        async for chunk in process.stdout.chunks():
            read += len(chunk)
        assert read == written == 100_000_000
        assert (await process.wait()).ok


@awaited
async def test_lines_pieces_and_exact_counts_can_be_mixed() -> None:
    async with connected() as connection, connection.start("cat", encoding=None) as process:
        await process.stdin.write(b"one\ntwo\nrest of it; and more\nlast")
        await process.stdin.aclose()
        out = process.stdout
        assert await out.readline() == b"one\n"
        assert await out.read(2) == b"tw"
        assert await out.readexactly(2) == b"o\n"
        assert await out.readuntil(b"; ") == b"rest of it; "
        assert [line async for line in out] == [b"and more\n", b"last"]
        assert await out.read(5) == b""
        assert await out.read() == b""
        assert out.at_end


@awaited
async def test_a_separator_may_come_in_pieces() -> None:
    async with connected() as connection, connection.start("cat") as process:
        for piece in ("ab", "c=", "=", "=d", "ef==", "=", "gh"):
            await process.stdin.write(piece)
            await asyncio.sleep(0.01)
        await process.stdin.aclose()
        out = process.stdout
        assert await out.readuntil("===") == "abc==="
        assert await out.readuntil("===") == "def==="
        assert await out.readuntil("===") == "gh"


@awaited
async def test_a_stream_that_ends_early_says_what_there_was() -> None:
    async with connected() as connection:
        process = await connection.start("say short", encoding=None)
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await process.stdout.readexactly(100)
        assert caught.value.partial == b"short"
        await process.wait()


@awaited
async def test_a_line_has_a_bound_and_one_longer_than_the_window_can_be_read() -> None:
    async with connected() as connection:
        line = b"x" * 9_000_000 + b"\n"
        process = await connection.start("cat", encoding=None)
        writing = asyncio.ensure_future(process.stdin.write(line * 2))
        assert await process.stdout.readline(limit=10_000_000) == line
        with pytest.raises(tellin.UsageError, match="within"):
            await process.stdout.readline(limit=1_000_000)
        await process.stdout.readexactly(len(line))
        await writing
        await process.aclose()


@awaited
async def test_two_coroutines_cannot_read_one_stream() -> None:
    async with connected() as connection, connection.start("wait") as process:
        await process.stdout.readline()
        first = asyncio.ensure_future(process.stdout.read(1))
        await asyncio.sleep(0)
        with pytest.raises(tellin.UsageError, match="somebody else"):
            await process.stdout.read(1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


@awaited
async def test_a_lost_connection_is_told_behind_what_had_come() -> None:
    async with serving() as server, connecting(server) as connection:
        process = await connection.start("wait")
        assert await process.stdout.read(4) == "wait"
        for one in list(server.connections):
            one.link.stream.shutdown(socket.SHUT_RDWR)
        assert await process.stdout.readline() == "ing\n"
        for _ in range(2):
            with pytest.raises(tellin.ConnectionLost) as caught:
                await process.stdout.read(1)
            assert caught.value.stage == "session"
        with pytest.raises(tellin.ConnectionLost):
            await process.stdin.write("x")
        with pytest.raises(tellin.ConnectionLost):
            await process.wait()


# --- writing


@awaited
async def test_writing_waits_for_a_command_that_does_not_read() -> None:
    async with connected() as connection, connection.start("wait", encoding=None) as process:
        data = pattern(30_000_000)
        task = asyncio.ensure_future(process.stdin.write(data))
        await asyncio.sleep(0.2)
        assert not task.done()
        assert connection.core.unsent < 1 << 20
        second = asyncio.ensure_future(process.stdin.write(b"behind"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not second.done()
        process.close()
        with pytest.raises(tellin.ConnectionLost):
            await second


@awaited
async def test_writes_of_several_coroutines_do_not_mix() -> None:
    async with connected() as connection, connection.start("cat", encoding=None) as process:
        blocks = [bytes([65 + number]) * 700_000 for number in range(8)]

        async def write() -> None:
            await asyncio.gather(*(process.stdin.write(block) for block in blocks))
            await process.stdin.aclose()

        writing = asyncio.ensure_future(write())
        data = await process.stdout.read()
        await writing
        assert data == b"".join(blocks)


@awaited
async def test_a_closed_input_takes_no_more() -> None:
    async with connected() as connection:
        async with connection.start("cat") as process:
            await process.stdin.aclose()
            assert process.stdin.closing
            with pytest.raises(tellin.UsageError, match="closed"):
                await process.stdin.write("late")
            await process.stdin.aclose()
            assert (await process.wait()).ok
        async with connection.start("cat", encoding=None) as process:
            with pytest.raises(tellin.UsageError, match="encoding"):
                await process.stdin.write("text")  # type: ignore[arg-type]


@awaited
async def test_writing_to_a_command_that_has_ended_is_an_error() -> None:
    async with connected() as connection:
        process = await connection.start("status 0")
        await process.wait()
        with pytest.raises(tellin.ConnectionLost):
            await process.stdin.write("x")
        await process.stdin.aclose()


@awaited
async def test_the_streams_of_a_process_are_one_s_own_or_redirected() -> None:
    null = tellin.Redirect.DEVNULL
    async with connected() as connection:
        process = await connection.start("cat", stdin=null, stdout=null, stderr=null)
        for name in ("stdin", "stdout", "stderr"):
            with pytest.raises(tellin.UsageError, match="redirected"):
                getattr(process, name)
        assert (await process.wait()).ok


@awaited
async def test_waiting_has_a_bound_and_the_command_goes_on() -> None:
    async with connected() as connection, connection.start("cat") as process:
        with pytest.raises(tellin.TimedOut):
            await process.wait(timeout=0.02)
        await process.stdin.write("still there")
        await process.stdin.aclose()
        assert (await process.wait(timeout=30)).stdout == "still there"


# --- redirection


@awaited
async def test_output_goes_to_files_by_path_object_and_descriptor(tmp_path: Path) -> None:
    data = pattern(3_000_001)
    async with connected() as connection:
        by_path = tmp_path / "path"
        by_path.write_bytes(b"old and longer" * 1_000_000)
        await connection.run("source 3000001", stdout=by_path)
        assert by_path.read_bytes() == data
        with (tmp_path / "object").open("wb") as file:
            file.write(b"before|")
            await connection.run("source 3000001", stdout=file)
            file.write(b"|after")
        assert (tmp_path / "object").read_bytes() == b"before|" + data + b"|after"
        fd = os.open(tmp_path / "fd", os.O_WRONLY | os.O_CREAT)
        try:
            done = await connection.run("both 3000001", stdout=fd, stderr=by_path)
        finally:
            os.close(fd)
        assert (done.stdout, done.stderr) == ("", "")
        assert (tmp_path / "fd").read_bytes() == by_path.read_bytes() == data


@awaited
async def test_both_outputs_redirected_lose_nothing(tmp_path: Path) -> None:
    # Pipes with slow readers: the channel is long gone when the last of it is written.
    async with connected() as connection:
        for _ in range(5):
            counters = first, second = _slow_counter(), _slow_counter()
            done = await connection.run("both 2500000", stdout=first.stdin, stderr=second.stdin)
            assert done.exit_status == 3
            said = [counter.communicate()[0] for counter in counters]
            assert said == [digest(pattern(2_500_000)).encode()] * 2


def _slow_counter() -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", _SLOW_COUNTER]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


_SLOW_COUNTER = """
import hashlib, os, time
count, total = 0, hashlib.sha256()
while block := os.read(0, 65536):
    count += len(block); total.update(block); time.sleep(0.001)
print(count, total.hexdigest(), end="")
"""


@awaited
async def test_input_comes_from_files_sockets_and_iterables(tmp_path: Path) -> None:
    data = pattern(2_000_003)
    wanted = digest(data)
    path = tmp_path / "input"
    path.write_bytes(data)

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(data), 77_777):
            yield data[at : at + 77_777]

    async def pieces_later() -> AsyncIterator[bytes]:
        for piece in pieces():
            await asyncio.sleep(0)
            yield piece

    async with connected() as connection:
        assert (await connection.run("count", stdin=path)).stdout == wanted
        with path.open("rb") as file:
            assert (await connection.run("count", stdin=file)).stdout == wanted
            file.seek(0)
            assert (await connection.run("count", stdin=file.fileno())).stdout == wanted
        for source in (pieces(), pieces_later(), io.BytesIO(data)):
            assert (await connection.run("count", stdin=source)).stdout == wanted
        reader = asyncio.StreamReader(limit=10_000_000)
        reader.feed_data(data)
        reader.feed_eof()
        assert (await connection.run("count", stdin=reader)).stdout == wanted
        ours, theirs = socket.socketpair()
        with ours, theirs:
            task = asyncio.ensure_future(connection.run("count", stdin=ours))
            await asyncio.get_running_loop().run_in_executor(None, theirs.sendall, data)
            theirs.shutdown(socket.SHUT_WR)
            assert (await task).stdout == wanted


@awaited
async def test_output_goes_to_functions_sinks_and_objects(tmp_path: Path) -> None:
    data = pattern(1_000_001)

    class Counting:
        count = 0

        def take(self, views: list[memoryview]) -> int:
            size = sum(map(len, views))
            self.count += size
            return size

    async with connected() as connection:
        kept = bytearray()
        await connection.run("source 1000001", stdout=lambda view: kept.extend(view))
        assert kept == data
        counting = Counting()
        await connection.run("source 1000001", stdout=counting)
        assert counting.count == len(data)
        memory = io.BytesIO()
        await connection.run("source 1000001", stdout=memory)
        assert memory.getvalue() == data
        ours, theirs = socket.socketpair()
        with ours, theirs:
            receiving = asyncio.get_running_loop().run_in_executor(
                None, _receive, theirs, len(data)
            )
            await connection.run("source 1000001", stdout=ours)
            assert await receiving == data


def _receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += sock.recv(1 << 20)
    return data


@awaited
async def test_output_goes_to_a_stream_writer_as_fast_as_that_takes_it() -> None:
    data = pattern(5_000_000)
    got = asyncio.get_running_loop().create_future()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = bytearray()
        while block := await reader.read(100_000):
            received += block
            await asyncio.sleep(0)
        got.set_result(bytes(received))
        writer.close()

    other = await asyncio.start_server(receive, "127.0.0.1", 0)
    async with other, connected() as connection:
        _, writer = await asyncio.open_connection(*other.sockets[0].getsockname())
        await connection.run("source 5000000", stdout=writer)
        writer.close()
        assert await got == data


@awaited
async def test_what_a_function_raises_comes_out_of_run() -> None:
    def fail(view: memoryview) -> None:
        raise ArithmeticError("no more of this")

    def broken() -> Iterator[bytes]:
        yield b"something"
        raise ArithmeticError("no more input")

    async with connected() as connection:
        with pytest.raises(ArithmeticError, match="no more of this"):
            await connection.run("source 5000000", stdout=fail)
        with pytest.raises(ArithmeticError, match="no more input"):
            await connection.run("count", stdin=broken())
        assert (await connection.run("say well")).stdout == "well"


@awaited
async def test_output_goes_through_what_an_object_does_with_it(tmp_path: Path) -> None:
    # The descriptor behind a GzipFile is the file's: written there, nothing would be compressed.
    data = pattern(300_000) + bytes(300_000)
    async with connected() as connection:
        with gzip.open(tmp_path / "packed", "wb") as packed:
            await connection.run("cat", input=data, stdout=packed)
        assert (tmp_path / "packed").stat().st_size < 400_000
        with gzip.open(tmp_path / "packed") as packed:
            assert packed.read() == data
        with gzip.open(tmp_path / "packed") as packed:
            assert (await connection.run("count", stdin=packed)).stdout == digest(data)
        with (tmp_path / "text").open("w") as text:
            text.write("before|")
            await connection.run("say after", stdout=text)
        assert (tmp_path / "text").read_text() == "before|after"


@awaited
async def test_a_tls_socket_is_refused_and_not_written_to_in_clear() -> None:
    ours, theirs = socket.socketpair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    with ours, theirs:
        sock = context.wrap_socket(ours, do_handshake_on_connect=False)
        async with connected() as connection:
            for end in ("stdout", "stdin", "stderr"):
                with pytest.raises(tellin.UsageError, match="TLS"):
                    await connection.run("say secret", **{end: sock})
        with pytest.raises(tellin.UsageError, match="TLS"):
            await connecting(None, sock=sock)
        sock.close()
        assert theirs.recv(100) == b""


@awaited
async def test_input_that_cannot_be_had_is_told_and_nothing_waits_for_it(tmp_path: Path) -> None:
    async with connected() as connection:
        for way in (connection.run, connection.start):
            with pytest.raises(FileNotFoundError):
                await way("count", stdin=tmp_path / "nothing")
            with pytest.raises(tellin.UsageError, match="cannot come from"):
                await way("count", stdin=object())  # type: ignore[arg-type]
            source = await connection.start("cat", encoding=None)
            reading = asyncio.ensure_future(source.stdout.read(1))
            await asyncio.sleep(0)
            with pytest.raises(tellin.UsageError, match="being read"):
                await way("count", stdin=source.stdout)
            await source.aclose()
            assert await reading == b""
            # And what goes wrong only when the channel is there.
            source = await connection.start("cat", encoding=None)
            task = asyncio.ensure_future(_await(way("count", stdin=source.stdout)))
            await asyncio.sleep(0)
            reading = asyncio.ensure_future(source.stdout.read(1))
            with pytest.raises(tellin.UsageError, match="being read"):
                await task
            await source.aclose()
            await reading
        assert (await connection.run("say well")).stdout == "well"


async def _await(thing: Any) -> Any:
    return await thing


@awaited
async def test_an_object_that_fails_to_take_output_does_not_keep_the_command() -> None:
    class Failing:
        def write(self, data: bytes) -> None:
            raise RuntimeError("the writer is closed")

        async def drain(self) -> None:
            raise AssertionError

    async with connected() as connection:
        with pytest.raises(RuntimeError, match="the writer is closed"):
            await connection.run("source 5000000", stdout=Failing())
        assert (await connection.run("say well")).stdout == "well"


@awaited
async def test_closing_a_process_waits_for_nobody_that_may_never_read() -> None:
    class Stuck:
        def write(self, data: bytes) -> None:
            """Take it."""

        async def drain(self) -> None:
            await asyncio.get_running_loop().create_future()

    read_end, write_end = os.pipe()
    try:
        async with connected() as connection:
            for target in (write_end, Stuck()):
                for turns in (0, 50):
                    process = await connection.start("both 3000000", stdout=target)
                    for _ in range(turns):
                        await asyncio.sleep(0.001)
                    await process.aclose()
            # Its channel may even be gone already.
            process = await connection.start("source 1500000", stdout=write_end)
            await _until(lambda: process.exit_status == 0)
            await process.aclose()
            other = await connection.start("wait", stdin=io.BytesIO(b"x"))
            await other.stdout.readline()
            await other.aclose()
            assert await other.stdout.read() == ""
    finally:
        os.close(read_end)
        os.close(write_end)


@awaited
async def test_closing_a_process_does_not_wait_for_ever_for_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Dropbear, for one, says that a channel is closed when its command has ended, and not before.
    monkeypatch.setattr(process_room, "_CLOSING_SECONDS", 0.05)
    async with serving(port=-1) as server:
        ours, theirs = socket.socketpair()
        served = server.serve_socket(theirs)
        async with connecting(server, sock=ours) as connection:
            process = await connection.start("wait")
            served.link.pause()
            await process.aclose()
            assert connection.core.channels
            served.link.resume()
            await _until(lambda: not connection.core.channels)


@awaited
async def test_arguments_of_a_wrong_kind_are_told_and_nothing_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong: Any
    async with connected() as connection:
        with pytest.raises(tellin.UsageError, match="no list") as caught:
            await connection.run(["ls", "-l"])  # type: ignore[call-overload]
        assert "shlex.join" in caught.value.hint
        with pytest.raises(tellin.UsageError, match="no int"):
            await connection.run("cat", input=5)  # type: ignore[call-overload]
        wrong = {"term": "xterm", "term_size": ("a", "b")}
        for way in (connection.run, connection.start):
            with pytest.raises((AttributeError, TypeError, struct.error)):
                await way("say well", **wrong)
        assert (await connection.run("say well")).stdout == "well"
    assert caplog.records == []


@awaited
async def test_pipes_of_a_run_are_what_is_collected() -> None:
    async with connected() as connection:
        for pipe in (subprocess.PIPE, tellin.Redirect.PIPE):
            ends: Any = {"stdin": pipe, "stdout": pipe, "stderr": pipe}
            done = await connection.run("both 4000000", encoding=None, **ends)
            assert (len(done.stdout), len(done.stderr)) == (4_000_000, 4_000_000)
            assert (await connection.run("cat", **ends)).stdout == ""


@awaited
async def test_text_goes_in_and_out_of_objects_that_have_text() -> None:
    text = "größe € 🐍 " * 30_000
    async with connected() as connection:
        kept = io.StringIO()
        await connection.run("cat", input=text, stdout=kept)
        assert kept.getvalue() == text
        latin = io.StringIO()
        await connection.run("cat", input="grün", encoding="latin-1", stdout=latin)
        assert latin.getvalue() == "grün"
        pieces = ["grün ", b"und ", "blau"]
        assert (await connection.run("cat", stdin=pieces)).stdout == "grün und blau"
        assert (await connection.run("cat", stdin=io.StringIO(text))).stdout == text


@awaited
async def test_a_function_that_fails_at_the_very_end_is_told_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def say(process: tellin.ServerProcess[bytes]) -> None:
        # One flight with the status and the end of the channel.
        await process.stdout.write(b"short")

    def fail(view: memoryview) -> None:
        raise ArithmeticError("not this")

    async with connected(session=say) as connection:
        for _ in range(20):
            with pytest.raises(ArithmeticError, match="not this"):
                await connection.run("x", stdout=fail)
        assert await connection.ping() > 0
    assert caplog.records == []


@awaited
async def test_a_full_disk_is_an_error_of_the_run() -> None:
    async with connected() as connection:
        with pytest.raises(OSError, match="No space left"):
            await connection.run("source 5000000", stdout="/dev/full")
        assert (await connection.run("say well")).stdout == "well"


@awaited
async def test_a_reader_that_goes_away_ends_a_pipe_and_not_the_connection() -> None:
    async with connected() as connection:
        read_end, write_end = os.pipe()
        task = asyncio.ensure_future(connection.run("source 50000000", stdout=write_end))
        await asyncio.sleep(0.05)
        os.close(read_end)
        with pytest.raises(BrokenPipeError):
            await task
        os.close(write_end)
        assert (await connection.run("say well")).stdout == "well"


@awaited
async def test_standard_error_goes_where_output_goes() -> None:
    async with connected() as connection:
        done = await connection.run("both 40000", stderr=tellin.Redirect.STDOUT, encoding=None)
        assert (len(done.stdout), done.stderr) == (80_000, b"")
        # subprocess calls it -2.
        done = await connection.run("both 10", stderr=subprocess.STDOUT, encoding=None)
        assert len(done.stdout) == 20
        with pytest.raises(tellin.UsageError):
            await connection.run("both 10", stdout=tellin.Redirect.STDOUT)
        with pytest.raises(tellin.UsageError):
            await connection.run("both 10", stdout=object())  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["one connection", "two connections"])
@awaited
async def test_the_output_of_one_process_is_the_input_of_another(how: str) -> None:
    size = 9_000_001
    async with connected() as first, connected() as second:
        target = first if how == "one connection" else second
        source = await first.start(f"source {size}", encoding=None)
        counting = await target.start("count", stdin=source.stdout)
        assert (await counting.wait()).stdout == digest(pattern(size))
        assert (await source.wait()).ok
        # And the other way round: the second is there first.
        counting = await target.start("count")
        await first.run(f"source {size}", stdout=counting.stdin)
        assert (await counting.wait()).stdout == digest(pattern(size))


@awaited
async def test_a_stream_of_text_is_no_input_for_another_process() -> None:
    async with connected() as connection:
        source = await connection.start("source 10")
        with pytest.raises(tellin.UsageError, match="bytes"):
            await connection.start("count", stdin=source.stdout)
        await source.aclose()


@awaited
async def test_a_process_whose_reader_ends_early_is_not_stuck() -> None:
    async with connected() as connection:
        source = await connection.start("source 50000000", encoding=None)
        head = await connection.start("status 4", stdin=source.stdout)
        assert (await head.wait()).exit_status == 4
        assert (await source.wait()).exit_status == 0


@awaited
async def test_memory_stays_bounded_while_much_passes_through() -> None:
    async with connected() as first, connected() as second:
        gc.collect()
        before = _resident()
        source = await first.start("source 60000000", encoding=None)
        slow = await second.start("wait", stdin=source.stdout)
        await asyncio.sleep(0.5)
        # The source holds its 60 MB itself; what is on the way is windows and socket buffers.
        assert _resident() - before < 100_000_000
        await slow.aclose()
        await source.aclose()


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# --- the streams by themselves


class _Window:
    """A channel as far as a reader needs it."""

    credit = 0
    target = 1 << 20

    def __init__(self) -> None:
        self.credited = 0

    def consumed(self, count: int) -> None:
        self.credited += count

    def flush_soon(self) -> None:
        """Nothing goes anywhere."""


def _reader(window: _Window) -> Any:
    return Reader(window, window)  # type: ignore[arg-type]


def test_single_bytes_are_kept_in_few_pieces() -> None:
    window = _Window()
    reader = _reader(window)
    for _ in range(100_000):
        assert reader.take([memoryview(b"x")]) == 0
    assert len(reader._pieces._pieces) < 100
    assert reader.read_nowait() == b"x" * 100_000
    assert window.credited == 100_000


@awaited
async def test_every_byte_is_credited_once_however_it_is_read() -> None:
    window = _Window()
    reader = _reader(window)
    taken = 0
    data = pattern(50_000)
    for at in range(0, len(data), 5_000):
        taken += reader.take(
            [memoryview(data)[at : at + 2_000], memoryview(data)[at + 2_000 : at + 5_000]]
        )
    got = await reader.read(10)
    got += await reader.read(7_000)
    got += await reader.readexactly(11_111)
    waiting = asyncio.ensure_future(reader.readexactly(40_000))
    await asyncio.sleep(0)
    more = pattern(10_000)
    taken += reader.take([memoryview(more)])
    got += await waiting
    with contextlib.suppress(tellin.UsageError):
        got += await reader.readuntil(b"--", limit=10)
    taken += reader.take([memoryview(more)])
    reader.finish()
    got += await reader.read()
    assert got == data + more + more
    assert window.credited + taken == len(got)


@awaited
async def test_obey_does_what_other_tests_rely_on() -> None:
    async with connected(session=obey) as connection:
        assert (await connection.run("count", input=b"abc")).stdout == digest(b"abc")
