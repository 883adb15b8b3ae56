# SPDX-License-Identifier: MIT
"""What of ours a server gets at: nothing that was not asked for, and a display only by its cookie."""

from pathlib import Path

import pytest
from tests.fuzz.displays import NAME, REAL, SHOWN, setup

from tellin.client.forwarding.incoming import Incoming
from tellin.client.forwarding.x11_forwarding import Access, obtain
from tellin.client.preferences import CLIENT_SETTINGS
from tellin.connection.forwarding import AGENT, SERVERS_TYPES, X11
from tellin.connection.x11 import COOKIE, Cookie, Display, X11Setup, read_display
from tellin.errors import ChannelOpenFailureReason as Reason
from tellin.errors import ProtocolError
from tellin.protocol.events import ChannelAsked, ChannelOpened, ChannelOpenRefused
from tellin.runtime.journal import INFO, Journal
from tellin.testing.pairs import make_pair

COOKIE_TEXT = "0123456789abcdef" * 2


@pytest.mark.parametrize("asked_for", [X11, AGENT, None])
def test_r146_what_was_not_asked_for_is_refused_whatever_else_was(asked_for: str | None) -> None:
    """OpenSSH once let servers open a display before x11-req (its commit a1dd1c806)."""
    pair = make_pair(client_core={"connection": CLIENT_SETTINGS})
    pair.answers.pop(ChannelAsked)
    pair.log_in()
    incoming = Incoming(pair.client)
    if asked_for is not None:
        incoming.take(asked_for, lambda event: pair.client.accept_channel(event.channel))
    for channel_type in sorted(SERVERS_TYPES):
        pair.server.open_channel(channel_type, bytes(16))
        pair.pump()
        asked = pair.client_events.pop()
        assert isinstance(asked, ChannelAsked)
        incoming.asked(asked)
        pair.pump()
        said = pair.server_events.pop()
        if channel_type == asked_for:
            assert isinstance(said, ChannelOpened)
        else:
            assert isinstance(said, ChannelOpenRefused)
            assert said.reason == Reason.ADMINISTRATIVELY_PROHIBITED


def test_r146_of_what_was_not_asked_for_the_first_of_each_type_is_told() -> None:
    pair = make_pair(client_core={"connection": CLIENT_SETTINGS})
    pair.answers.pop(ChannelAsked)
    pair.log_in()
    said: list[str] = []
    incoming = Incoming(pair.client, warn=said.append)
    for channel_type in (X11, AGENT, X11, X11, AGENT):
        pair.server.open_channel(channel_type, bytes(16))
        pair.pump()
        asked = pair.client_events.pop()
        assert isinstance(asked, ChannelAsked)
        incoming.asked(asked)
    probably = "Warning: this is probably a break-in attempt by a malicious server."
    assert said == [
        "Warning: ssh server tried X11 forwarding.",
        probably,
        "Warning: ssh server tried agent forwarding.",
        probably,
    ]


# The first packet


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("size", [1, 5, 12, 47, 1000])
def test_the_real_cookie_takes_the_place_of_the_shown_one_in_either_byte_order(
    order: str, size: int
) -> None:
    data = setup(order, SHOWN.data, rest=b"and the rest")
    guard, out = X11Setup(SHOWN, REAL), b""
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        if out:
            out += piece
        else:
            out = guard.feed(piece) or b""
    assert out == setup(order, REAL.data, rest=b"and the rest")


@pytest.mark.parametrize(
    "data",
    [
        *(
            pytest.param(
                setup("<", SHOWN.data[:at] + b"\xee" + SHOWN.data[at + 1 :]), id=f"byte {at}"
            )
            for at in (0, 7, 15)
        ),
        pytest.param(setup(">", REAL.data), id="the real one"),
        pytest.param(setup("<", b""), id="none"),
        pytest.param(setup("<", SHOWN.data[:15]), id="a shorter one"),
        pytest.param(setup("<", SHOWN.data + b"\0"), id="a longer one"),
        pytest.param(setup("<", SHOWN.data, name=b"XDM-AUTHORIZATION1"), id="another protocol"),
        pytest.param(setup("<", SHOWN.data, name=b""), id="no protocol"),
        pytest.param(
            b"l\0" + b"\xff" * 10, id="lengths of 64 KiB, of which nothing is waited for"
        ),
        pytest.param(b"GET / HTTP", id="no X11"),
        pytest.param(b"x", id="no byte order"),
        pytest.param(setup("<", SHOWN.data).replace(b"l", b"B", 1), id="the other byte order"),
    ],
)
def test_a_forged_cookie_is_refused_as_soon_as_it_can_be_told(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        X11Setup(SHOWN, REAL).feed(data)


def test_a_cookie_is_not_printed() -> None:
    assert SHOWN.data.hex() not in repr(SHOWN)
    assert NAME.decode() == COOKIE
    access = repr(Access(Cookie(COOKIE, b"a secret")))
    assert "a secret" not in access
    assert b"a secret".hex() not in access


# Displays, and xauth


@pytest.mark.parametrize(
    ("name", "display"),
    [
        (":0", Display("", 0, 0)),
        ("unix:1.2", Display("", 1, 2)),
        ("host/unix:10", Display("", 10, 0)),
        ("localhost:10.0", Display("localhost", 10, 0)),
        ("192.0.2.1:1", Display("192.0.2.1", 1, 0)),
    ],
)
def test_displays_are_read(name: str, display: Display) -> None:
    assert read_display(name) == display


@pytest.mark.parametrize(
    "name",
    ["", "0", ":", ":x", ":0.", ":99999", ":0.401", "a b:0", ":0\n", "$(id):0", "::0", ":-1"],
)
def test_what_is_no_display_is_none(name: str) -> None:
    with pytest.raises(ProtocolError):
        read_display(name)


class Xauth:
    """A program in xauth's place that does as it is told, and what was said about it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "xauth"
        self.calls = directory / "calls"
        self.said: list[str] = []

    def does(self, *, generate: str = "exit 0", listing: str = "") -> None:
        self.path.write_text(
            f'#!/bin/sh\necho "$@" >> {self.calls}\ncase "$*" in *generate*) {generate};; esac\n'
            f"cat <<'END'\n{listing}\nEND\n",
            "ascii",
        )
        self.path.chmod(0o755)

    def obtain(self, name: str, *, trusted: bool, timeout: int = 1200) -> Access | None:
        journal = Journal(INFO, self.said.append)
        return obtain(
            name, xauth=str(self.path), trusted=trusted, timeout=timeout, journal=journal
        )


@pytest.fixture
def xauth(tmp_path: Path) -> Xauth:
    return Xauth(tmp_path)


LISTED = f"host/unix:10  {COOKIE}  {COOKIE_TEXT}"
UNTRUSTED = "Warning: untrusted X11 forwarding setup failed: xauth key data not generated"
FAKED = "Warning: No xauth data; using fake authentication data for X11 forwarding."


def test_r144_the_displays_own_cookie_is_given_to_nobody_who_is_not_trusted(xauth: Xauth) -> None:
    """CVE-2016-1908: what fails does not fall back."""
    xauth.does(generate="exit 1", listing=LISTED)
    assert xauth.obtain(":0", trusted=False) is None
    assert xauth.said[-1].endswith(UNTRUSTED)
    # Made, it seems, and not to be had.
    xauth.does(listing="")
    assert xauth.obtain(":0", trusted=False) is None
    assert xauth.said[-1].endswith(UNTRUSTED)
    trusted = xauth.obtain(":0", trusted=True)
    assert trusted is not None
    assert trusted.seconds is None
    assert xauth.said[-1].endswith(FAKED)


def test_a_cookie_is_made_for_a_while_in_a_file_that_goes(xauth: Xauth) -> None:
    xauth.does(listing=LISTED)
    made = xauth.obtain("localhost:10.0", trusted=False, timeout=60)
    assert made is not None
    assert (made.cookie, made.seconds) == (Cookie(COOKIE, bytes.fromhex(COOKIE_TEXT)), 60.0)
    generate, listing = xauth.calls.read_text("ascii").splitlines()
    # The name that xauth knows it by, and longer at the display than here.
    assert generate.endswith(f"generate unix:10.0 {COOKIE} untrusted timeout 120")
    place = Path(generate.split()[1])
    assert listing == f"-f {place} list unix:10.0"
    assert not place.parent.exists()
    # 0 is for ever.
    made = xauth.obtain(":0", trusted=False, timeout=0)
    assert made is not None
    assert made.seconds is None
    assert "timeout" not in xauth.calls.read_text("ascii").splitlines()[2]


@pytest.mark.parametrize(
    "listing",
    [
        f"host/unix:10  {COOKIE}  zz",
        f"host/unix:10  {COOKIE}",
        f"host/unix:10  MIT;MAGIC  {COOKIE_TEXT}",
        f"host/unix:10  {COOKIE}  {'00' * 1000}",
        "x" * (2 << 20),
    ],
    ids=["no digits", "no cookie", "another word", "a long one", "without end"],
)
def test_what_xauth_says_is_looked_at(xauth: Xauth, listing: str) -> None:
    xauth.does(listing=listing)
    made = xauth.obtain(":0", trusted=True)
    assert made is not None
    assert made.cookie.data.hex() not in listing
    assert xauth.said[-1].endswith(FAKED)
