# SPDX-License-Identifier: MIT
"""Displays at a running server: where they listen, what xauth is told, and what they lead to."""

import errno
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from tests.interop.tellin_peer import TellinServer
from tests.server.caller import Caller, CallerSession

from tellin.connection.channel import Channel
from tellin.connection.forwarding import X11
from tellin.connection.machine import ConnectionSettings
from tellin.connection.requests import ExecRequest, X11Request
from tellin.connection.x11 import COOKIE, X11Origin
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.keys.formats import load_private_key
from tellin.protocol.events import ChannelAsked, ChannelClosed
from tellin.testing.loopback import Collector

Call = Callable[[], Caller]
SECONDS = 60
COOKIE_TEXT = "00112233445566778899aabbccddeeff"
REQUEST = X11Request(False, COOKIE, COOKIE_TEXT, 0)
HOLD = b"echo $DISPLAY; exec cat"
OFFSET = 400  # away from displays that somebody may really have


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TellinServer]:
    """As root for the throw-away account; its xauth writes down what it is told, and where, slowly."""
    made = TellinServer(
        tmp_path_factory.mktemp("displays"),
        account=request.getfixturevalue("account") if os.geteuid() == 0 else None,
    )
    xauth = made.directory / "xauth"
    # What it says is nobody's business; the session waits for it.
    xauth.write_text(
        '#!/bin/sh\necho noise\necho noise >&2\nsleep 0.3\n(echo "$@"; id -u; cat) > "$XAUTHORITY"\n',
        "ascii",
    )
    xauth.chmod(0o755)
    made.options = {
        "X11Forwarding": "yes",
        "X11DisplayOffset": str(OFFSET),
        "XAuthLocation": xauth,
        "SetEnv": f"XAUTHORITY={made.directory}/said",
        "LogLevel": "DEBUG1",
    }
    with made as running:
        yield running


@pytest.fixture
def call(server: TellinServer) -> Iterator[Call]:
    """A client that is logged in, and lets the server open displays."""
    with ExitStack() as stack:

        def make() -> Caller:
            made = Caller(
                server.port, connection=ConnectionSettings(channel_types=frozenset({X11}))
            )
            stack.callback(made.socket.close)
            return made.log_in(server.user, load_private_key(server.identity.path.read_bytes()))

        yield make


def output(session: CallerSession, command: bytes) -> str:
    assert session.ask(ExecRequest(command))
    session.finish()
    return bytes(session.out.data + session.err.data).decode()


def hold(session: CallerSession) -> int:
    """Have a session run that tells its display, and waits; the display's port."""
    assert session.ask(ExecRequest(HOLD))
    session.caller.wait_for(lambda: b"\n" in session.out.data)
    found = re.fullmatch(r"localhost:(\d+)\.0\n", bytes(session.out.data).decode())
    assert found, session.out.data
    return 6000 + int(found[1])


def listening(port: int) -> set[str]:
    """The addresses, as the kernel's tables have them, at which somebody listens."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text("ascii").splitlines()[1:]:
            address, _, number = line.split()[1].partition(":")
            if int(number, 16) == port and line.split()[3] == "0A":
                found.add(address)
    return found


def connect(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.settimeout(SECONDS)
    return made


def test_r143_xauth_gets_display_and_cookie_by_its_input_before_the_command_runs(
    server: TellinServer, call: Call
) -> None:
    session = call().session()
    assert session.ask(X11Request(False, COOKIE, COOKIE_TEXT.upper(), 3))
    display, words, uid, *commands = output(
        session, b'echo $DISPLAY; cat "$XAUTHORITY"'
    ).splitlines()
    number = re.fullmatch(r"localhost:(\d+)\.3", display)
    assert number, display
    assert int(number[1]) >= OFFSET
    # No cookie on a command line, and nobody's rights but the user's.
    assert words == "-q -"
    assert int(uid) == (server.account.uid if server.account else os.geteuid())
    assert commands == [
        f"remove unix:{number[1]}.3",
        f"add unix:{number[1]}.3 {COOKIE} {COOKIE_TEXT}",
    ]


@pytest.mark.parametrize(
    ("protocol", "cookie", "screen"),
    [
        pytest.param(COOKIE, "00\nadd evil:0 X 00", 0, id="R143: another command"),
        pytest.param(f"{COOKIE}\nlist", COOKIE_TEXT, 0, id="R143: in the protocol"),
        pytest.param("MIT MAGIC", COOKIE_TEXT, 0, id="R143: two words"),
        pytest.param(COOKIE, "0", 0, id="R143, case 215: half a byte"),
        pytest.param(COOKIE, "", 0, id="R143, case 215: no cookie"),
        pytest.param("", COOKIE_TEXT, 0, id="R143, case 215: no protocol"),
        pytest.param(COOKIE, "zz" * 16, 0, id="R143: no digits"),
        pytest.param(COOKIE, "\u0661\u0662" * 8, 0, id="R143: digits of other scripts"),
        pytest.param(COOKIE, "00" * 100_000, 0, id="case 215: a long cookie"),
        pytest.param("A" * 1000, COOKIE_TEXT, 0, id="case 215: a long protocol"),
        pytest.param(COOKIE, COOKIE_TEXT, 0xFFFFFFFF, id="case 215: a screen that is none"),
    ],
)
def test_what_cannot_be_a_cookie_is_refused_and_the_session_goes_on(
    server: TellinServer, call: Call, protocol: str, cookie: str, screen: int
) -> None:
    session = call().session()
    assert not session.ask(X11Request(False, protocol, cookie, screen))
    assert output(session, b"echo =$DISPLAY=") == "==\n"


def test_r145_a_display_listens_on_loopback_alone_and_nobody_listens_beside_it(
    server: TellinServer, call: Call
) -> None:
    caller = call()
    session = caller.session()
    assert session.ask(REQUEST)
    port = hold(session)
    found = listening(port)
    assert found <= {"0100007F", "00000000000000000000000001000000"}
    assert "0100007F" in found
    # CVE-2008-1483: somebody who listens at the wider address would get what is meant for us.
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use") as caught:
            _take(other, "0.0.0.0", port)  # noqa: S104 - what an attacker would do
        assert caught.value.errno == errno.EADDRINUSE


def _take(stream: socket.socket, address: str, port: int) -> None:
    stream.bind((address, port))
    stream.listen()


def test_a_display_of_which_somebody_has_one_address_is_not_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        number = OFFSET + 100
        while taken.getsockname()[1] == 0:
            number += 1
            with suppress(OSError):
                taken.bind(("127.0.0.1", 6000 + number))
        taken.listen()
        options = {
            "X11Forwarding": "yes",
            "X11DisplayOffset": number,
            "X11UseLocalhost": "no",
            "XAuthLocation": "/bin/true",
        }
        with TellinServer(tmp_path, options=options) as server, Caller(server.port) as caller:
            key = load_private_key(server.identity.path.read_bytes())
            session = caller.log_in(server.user, key).session()
            assert session.ask(REQUEST)
            assert session.ask(ExecRequest(HOLD))
            caller.wait_for(lambda: b"\n" in session.out.data)
            host, _, named = bytes(session.out.data).decode().strip().partition(":")
            assert host == socket.gethostname()
            other = int(named.removesuffix(".0"))
            assert other > number
            # X11UseLocalhost no: whoever knows the cookie may come from anywhere.
            assert "00000000" in listening(6000 + other)


def test_a_connection_to_the_display_is_a_channel_to_the_client_until_the_session_is_over(
    server: TellinServer, call: Call
) -> None:
    caller = call()
    session = caller.session()
    assert session.ask(REQUEST)
    # One display a session, and none for one that runs already.
    assert not session.ask(REQUEST)
    port = hold(session)
    with connect(port) as stream:
        asked = caller.wait(ChannelAsked)
        origin = X11Origin.decode(asked.data)
        assert (asked.channel_type, origin.originator) == (X11, "127.0.0.1")
        assert origin.originator_port == stream.getsockname()[1]
        window = _open(caller, asked.channel)
        stream.sendall(b"hello")
        caller.wait_for(lambda: window.data == b"hello")
        session.channel.eof()
        caller.wait(ChannelClosed)
        # Nobody else gets on it, and the window stays.
        caller.wait_for(lambda: not listening(port))
        asked.channel.send(b"still here")
        caller.flush()
        assert stream.recv(100) == b"still here"


def _open(caller: Caller, channel: Channel) -> Collector:
    made = Collector(channel)
    channel.sink = made
    caller.core.accept_channel(channel)
    caller.flush()
    return made


def test_a_single_connection_is_the_only_one(server: TellinServer, call: Call) -> None:
    caller = call()
    session = caller.session()
    assert session.ask(X11Request(True, COOKIE, COOKIE_TEXT, 0))
    port = hold(session)
    with connect(port) as stream:
        asked = caller.wait(ChannelAsked)
        assert not listening(port)
        caller.core.refuse_channel(asked.channel, Reason.CONNECT_FAILED, "no display")
        caller.flush()
        assert stream.recv(1) == b""


def test_a_client_that_goes_while_xauth_runs_leaves_nothing_behind(
    server: TellinServer, call: Call
) -> None:
    caller = call()
    session = caller.session()
    assert session.ask(REQUEST)
    marker = server.directory / "never"
    session.channel.request(ExecRequest(f"touch {marker}".encode()))
    session.channel.close()
    caller.wait(ChannelClosed)
    # The connection is as good as before, and by then its xauth is long over.
    for _ in range(2):
        again = caller.session()
        assert again.ask(REQUEST)
        assert "localhost:" in output(again, b"echo $DISPLAY")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("words", "granted"),
    [("no-X11-forwarding", False), ("restrict", False), ("restrict,X11-forwarding", True)],
)
def test_keys_say_whether_there_is_a_display(
    server: TellinServer, call: Call, words: str, granted: bool
) -> None:
    lines = server.directory / "authorized_keys"
    before = lines.read_text("ascii")
    lines.write_text(f"{words} {before}", "ascii")
    try:
        assert call().session().ask(REQUEST) is granted
    finally:
        lines.write_text(before, "ascii")


def test_without_xauth_there_is_no_display(tmp_path: Path) -> None:
    options = {
        "X11Forwarding": "yes",
        "XAuthLocation": tmp_path / "nothing",
        "LogLevel": "VERBOSE",
    }
    with TellinServer(tmp_path, options=options) as server, Caller(server.port) as caller:
        key = load_private_key(server.identity.path.read_bytes())
        session = caller.log_in(server.user, key).session()
        assert not session.ask(REQUEST)
        server.wait_for_log("No xauth program; cannot forward X11.")
