# SPDX-License-Identifier: MIT
"""Windows of programs on a server, on a display of the caller's: the library at both ends."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.fuzz.displays import setup
from tests.library import HOST_KEY, OTHER_KEY, USER_KEY, awaited, connected, connecting, serving

import tellin
from tellin.client.forwarding.x11_forwarding import X11Forwarding
from tellin.connection.forwarding import X11
from tellin.connection.requests import X11Request
from tellin.connection.x11 import COOKIE, X11Origin
from tellin.server.forwarding.client_sockets import reach_client

REAL = bytes(range(16))
Look = Callable[["tellin.ServerProcess[bytes]"], Awaitable[object]]


class Screen:
    """Who listens as a display would, and keeps what each window's connection begins with."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._listening = socket.socket(socket.AF_UNIX)
        while True:
            number = random.randrange(20000, 59000)
            try:
                self._listening.bind(f"\0/tmp/.X11-unix/X{number}")
            except OSError:
                continue
            break
        self.name = f":{number}.1"

    async def __aenter__(self) -> "Screen":
        self._server = await asyncio.start_unix_server(self._serve, sock=self._listening)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heard.append(await reader.readexactly(len(setup("<", REAL))))
            writer.write(b"welcome")
            writer.write(await reader.read(1000))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def display(self, **options: Any) -> tellin.Display:
        return tellin.Display(name=self.name, cookie=REAL, **options)


@asynccontextmanager
async def shown(look: Look, **options: Any) -> AsyncIterator[tellin.Connection]:
    """A connection to a server whose sessions ``look`` at the client's display."""

    async def session(process: tellin.ServerProcess[bytes]) -> int:
        await process.stdout.write(repr(await look(process)).encode())
        return 0

    async with connected(session=session, **{"permit_x11": True, **options}) as connection:
        yield connection


async def through(stream: socket.socket, data: bytes) -> bytes:
    """Say that, and hear what is answered until the end."""

    def talk() -> bytes:
        with stream:
            stream.settimeout(60)
            try:
                stream.sendall(data)
                stream.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: stream.recv(1000), b""))
            except (ConnectionResetError, BrokenPipeError):
                return b"reset"

    return await asyncio.to_thread(talk)


async def greet(process: tellin.ServerProcess[bytes]) -> object:
    """What a window's program does first."""
    if process.display is None:
        return "no display"
    cookie = process.display.cookie
    assert (process.display.protocol, process.display.screen) == (COOKIE, 1)
    assert cookie.hex() not in repr(process.display)
    # What the server's side knows is not what opens the display.
    assert cookie != REAL
    return await through(await process.open_display(), setup("<", cookie, rest=b" and more"))


@awaited
async def test_a_session_shows_windows_by_a_cookie_of_its_own() -> None:
    async with Screen() as screen, shown(greet) as connection:
        for _ in range(2):
            done = await connection.run("", x11=screen.display())
            assert done.stdout == repr(b"welcome and more")
        async with connection.start("", x11=screen.display()) as process:
            assert await process.stdout.read() == repr(b"welcome and more")
        async with connection.shell(x11=screen.display()) as process:
            assert await process.stdout.read() == repr(b"welcome and more")
        assert screen.heard == [setup("<", REAL)] * 4
        # Who asks for none has none, on the same connection.
        assert (await connection.run("")).stdout == repr("no display")


@awaited
async def test_r144_a_forged_cookie_does_not_reach_the_display() -> None:
    async def forge(process: tellin.ServerProcess[bytes]) -> object:
        assert process.display is not None
        wrong = bytes(len(process.display.cookie))
        return await through(await process.open_display(), setup(">", wrong))

    async with Screen() as screen, shown(forge) as connection:
        done = await connection.run("", x11=screen.display())
        assert done.stdout in {repr(b""), repr(b"reset")}
        assert screen.heard == []


@awaited
async def test_r146_a_single_connection_is_one_at_both_ends() -> None:
    """RFC 4254 section 6.3.1: and a server that wants more all the same is refused."""

    async def twice(process: tellin.ServerProcess[bytes]) -> object:
        first = await greet(process)
        assert process.display is not None
        assert process.display.single_connection
        with pytest.raises(tellin.UsageError, match="single connection"):
            await process.open_display()
        owner: Any = process._session.owner
        try:
            second = await reach_client(owner, X11, X11Origin("", 0).encode())
        except tellin.ChannelRefused as error:
            return first, error.description
        second.close()
        return first, "let through"

    async with Screen() as screen, shown(twice) as connection:
        for _ in range(2):
            done = await connection.run("", x11=screen.display(single_connection=True))
            assert done.stdout == repr((b"welcome and more", "a single connection"))
        assert len(screen.heard) == 2


async def late(process: tellin.ServerProcess[bytes]) -> object:
    await process.stdin.read()
    try:
        return await greet(process)
    except tellin.ChannelRefused as error:
        return error.description


@awaited
async def test_r144_what_comes_after_the_time_is_refused_and_the_next_session_has_a_time_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CVE-2015-5352: whatever the display thinks of the cookie by then."""
    async with Screen() as screen, shown(late) as connection:
        display = screen.display(timeout=1200)
        async with connection.start("", x11=display) as process:
            forwarding: X11Forwarding = connection.lent.shown.forwarding
            assert forwarding._until is not None
            forwarding._until -= 1201
            await process.stdin.aclose()
            assert await process.stdout.read() == repr("too late")
        assert (await connection.run("", x11=display)).stdout == repr(b"welcome and more")
        assert connection.lent.shown.forwarding is not forwarding
    # Who is trusted may stay.
    async with Screen() as screen, shown(late) as connection:
        done = await connection.run("", x11=screen.display(trusted=True, timeout=1))
        assert done.stdout == repr(b"welcome and more")
        assert connection.lent.shown.forwarding._until is None


@awaited
async def test_r144_without_a_cookie_for_those_who_are_not_trusted_nothing_is_shown(
    tmp_path: Path,
) -> None:
    """CVE-2016-1908: the display's own would let them do anything."""
    began: list[object] = []

    async def look(process: tellin.ServerProcess[bytes]) -> object:
        began.append(process)
        return process.display

    none = str(tmp_path / "xauth")
    async with Screen() as screen, shown(look) as connection:
        with pytest.raises(tellin.ConnectFailed, match="makes no cookie"):
            await connection.run("", x11=tellin.Display(name=screen.name, xauth=none))
        assert began == []
        # What failed is no display that others are kept from.
        done = await connection.run("", x11=screen.display())
        assert "ClientDisplay of screen 1" in done.stdout
        with pytest.raises(tellin.UsageError, match="another display"):
            await connection.run("", x11=screen.display(trusted=True))
    async with Screen() as screen, shown(greet) as connection:
        # Whoever is trusted is let in without looking at him, or is not.
        display = tellin.Display(name=screen.name, trusted=True, xauth=none)
        assert (await connection.run("", x11=display)).stdout == repr(b"welcome and more")
        assert screen.heard != [setup("<", REAL)]


@awaited
async def test_r146_a_server_that_was_shown_no_display_gets_no_channel_to_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def reach(process: tellin.ServerProcess[bytes]) -> object:
        owner: Any = process._session.owner
        with pytest.raises(tellin.UsageError, match="does not forward its display"):
            await process.open_display()
        with pytest.raises(tellin.ChannelRefused, match="nobody has asked for it"):
            await reach_client(owner, X11, X11Origin("", 0).encode())
        return True

    async with Screen() as screen, shown(reach) as connection:
        monkeypatch.setenv("DISPLAY", screen.name)
        assert (await connection.run("")).stdout == "True"


@pytest.mark.parametrize(
    ("protocol", "cookie", "screen"),
    [
        (COOKIE, "00\nadd :0 . 00", 0),
        (COOKIE, "", 0),
        (COOKIE, "0" * 1000, 0),
        ("MIT\nadd", "00", 0),
        (COOKIE, "00", 1 << 31),
    ],
)
@awaited
async def test_r143_what_no_cookie_can_be_is_refused_before_any_function_sees_it(
    protocol: str, cookie: str, screen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2016-3115: it would be written into the input of xauth."""
    wrong = X11Request(False, protocol, cookie, screen)
    monkeypatch.setattr(X11Forwarding, "request", lambda self: wrong)

    async def look(process: tellin.ServerProcess[bytes]) -> object:
        return process.display

    async with Screen() as made, shown(look) as connection:
        with pytest.raises(tellin.RequestRefused, match="X11 forwarding"):
            await connection.run("", x11=made.display())


@awaited
async def test_r143_a_server_shows_windows_only_where_it_and_the_key_permit_it(
    tmp_path: Path,
) -> None:
    async with Screen() as screen:
        async with shown(greet, permit_x11=False) as connection:
            with pytest.raises(tellin.RequestRefused, match="X11 forwarding"):
                await connection.run("", x11=screen.display())
            # The connection is none the worse for it.
            assert (await connection.run("")).stdout == repr("no display")
        line = USER_KEY.public.to_line()
        (tmp_path / "keys").write_text(f"no-X11-forwarding {line}\n", "ascii")
        async with shown(greet, authorized_keys=tmp_path / "keys") as connection:
            with pytest.raises(tellin.RequestRefused, match="X11 forwarding"):
                await connection.run("", x11=screen.display())


@awaited
async def test_r014_a_server_whose_key_has_changed_is_shown_no_display(tmp_path: Path) -> None:
    async with Screen() as screen, serving(permit_x11=True) as server:
        line = OTHER_KEY.public.to_line()
        (tmp_path / "known").write_text(f"[127.0.0.1]:{server.port} {line}\n", "ascii")
        async with connecting(
            server, known_hosts=tmp_path / "known", host_keys=tellin.HostKeyPolicy.OFF
        ) as connection:
            with pytest.raises(tellin.UsageError, match="its host key has changed"):
                await connection.run("say hello", x11=screen.display())
    assert connection.host_key == HOST_KEY.public


@awaited
async def test_what_is_no_display_is_said_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    async with shown(greet) as connection:
        for wrong, said in (
            (True, "there is no display"),
            (tellin.Display(), "there is no display"),
            (tellin.Display(name=":0\nadd"), "no display"),
            (tellin.Display(name=":0", cookie=b""), "from 1 to 256 bytes"),
            (tellin.Display(name=":0", cookie=bytes(257)), "from 1 to 256 bytes"),
            (tellin.Display(name=":0", timeout=-1), "a number of seconds"),
            (tellin.Display(name=":0", timeout=float("nan")), "a number of seconds"),
            ("yes", "True, False or a Display"),
        ):
            with pytest.raises(tellin.UsageError, match=said):
                await connection.run("", x11=wrong)  # type: ignore[call-overload]
        # Nobody listens: that is for the program there to hear.
        nobody = tellin.Display(name=f":{random.randrange(20000, 59000)}.1", cookie=REAL)

        async def look(process: tellin.ServerProcess[bytes]) -> object:
            with pytest.raises(tellin.ChannelRefused, match="no display"):
                await greet(process)
            return True

    async with shown(look) as connection:
        assert (await connection.run("", x11=nobody)).stdout == "True"
    assert "cookie=<hidden>" in repr(nobody)


def test_threads_show_windows_too() -> None:
    def session(process: tellin.blocking.ServerProcess[str]) -> None:
        if process.display is None:
            process.stdout.write("no display")
            return
        try:
            process.open_display().close()
        except tellin.ChannelRefused as error:
            process.stdout.write(f"screen {process.display.screen}: {error.description}")

    with (
        tellin.blocking.serve(
            host_keys=[HOST_KEY],
            authorized_keys=USER_KEY.public,
            session=session,
            permit_x11=True,
        ) as server,
        tellin.blocking.connect(
            "127.0.0.1",
            port=server.port,
            user="me",
            keys=[USER_KEY],
            host_keys=HOST_KEY.public,
            config=None,
        ) as connection,
    ):
        # Nobody is there.
        display = tellin.Display(name=f":{random.randrange(20000, 59000)}.3", cookie=REAL)
        assert connection.run("").stdout == "no display"
        assert connection.run("", x11=display).stdout == "screen 3: no display"
        with connection.start("", x11=display) as process:
            assert process.stdout.read() == "screen 3: no display"
