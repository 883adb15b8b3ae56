# SPDX-License-Identifier: MIT
"""The last lines of a connection, word for word: filters of logs are written against them."""

import errno

import pytest

from tellin.errors import (
    ConnectionLost,
    Disconnected,
    IdentificationError,
    IntegrityError,
    NegotiationFailed,
    ProtocolError,
    TellinError,
    TimedOut,
)
from tellin.runtime.journal import ERROR, FATAL, INFO, VERBOSE
from tellin.server.endings import Ending, Standing

SOURCE = "192.0.2.7 port 50000"
RESET = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
TRYING, INVALID = Standing.AUTHENTICATING, Standing.INVALID
IN, NOBODY = Standing.LOGGED_IN, Standing.STRANGER


def lines(
    error: TellinError | None,
    standing: Standing,
    *,
    user: str = "eve",
    failure: OSError | None = None,
) -> list[tuple[int, str]]:
    return list(Ending(SOURCE, user, standing, error, failure).lines())


def lost(stage: str = "authentication") -> ConnectionLost:
    return ConnectionLost("the peer closed the connection", stage=stage)


@pytest.mark.parametrize(
    ("error", "standing", "failure", "expected"),
    [
        pytest.param(
            lost(),
            TRYING,
            None,
            [(INFO, f"Connection closed by authenticating user eve {SOURCE} [preauth]")],
            id="closed while logging in",
        ),
        pytest.param(
            lost(),
            INVALID,
            None,
            [(INFO, f"Connection closed by invalid user eve {SOURCE} [preauth]")],
            id="closed, and there is no such user",
        ),
        pytest.param(
            lost("key exchange"),
            NOBODY,
            None,
            [(INFO, f"Connection closed by {SOURCE} [preauth]")],
            id="closed before a name was given",
        ),
        pytest.param(
            lost(),
            TRYING,
            RESET,
            [(INFO, f"Connection reset by authenticating user eve {SOURCE} [preauth]")],
            id="reset while logging in",
        ),
        pytest.param(
            lost("banner exchange"),
            NOBODY,
            None,
            [
                (ERROR, "kex_exchange_identification: Connection closed by remote host"),
                (INFO, f"Connection closed by {SOURCE}"),
            ],
            id="case 19: closed at once",
        ),
        pytest.param(
            lost("banner exchange"),
            NOBODY,
            RESET,
            [
                (ERROR, "kex_exchange_identification: read: Connection reset by peer"),
                (INFO, f"Connection reset by {SOURCE}"),
            ],
            id="case 18: reset at once",
        ),
        pytest.param(
            lost("session"),
            IN,
            None,
            [
                (VERBOSE, f"Connection closed by {SOURCE}"),
                (VERBOSE, f"Closing connection to {SOURCE}"),
            ],
            id="closed when logged in",
        ),
        pytest.param(
            lost("session"),
            IN,
            RESET,
            [(VERBOSE, f"Read error from remote host {SOURCE}: Connection reset by peer")],
            id="reset when logged in",
        ),
        pytest.param(
            Disconnected(11, "disconnected by user"),
            IN,
            None,
            [
                (INFO, f"Received disconnect from {SOURCE}:11: disconnected by user"),
                (INFO, f"Disconnected from user eve {SOURCE}"),
            ],
            id="said goodbye",
        ),
        pytest.param(
            Disconnected(2, "no \x1b[2J\nway"),
            TRYING,
            None,
            [
                (ERROR, f"Received disconnect from {SOURCE}:2: no \\033[2J\\012way [preauth]"),
                (INFO, f"Disconnected from authenticating user eve {SOURCE} [preauth]"),
            ],
            id="case 34: a goodbye with a reason and an escape in it",
        ),
        pytest.param(
            NegotiationFailed("cipher", ["a"], ["3des-cbc"]),
            NOBODY,
            None,
            [
                (
                    INFO,
                    (
                        f"Unable to negotiate with {SOURCE}: no matching cipher found."
                        " Their offer: 3des-cbc [preauth]"
                    ),
                )
            ],
            id="case 67",
        ),
        pytest.param(
            IdentificationError(r"not an SSH identification: b'GET / HTTP/1.0\r\n'"),
            NOBODY,
            None,
            [
                (
                    ERROR,
                    (
                        "kex_exchange_identification: client sent invalid protocol identifier"
                        ' "GET / HTTP/1.0"'
                    ),
                ),
                (INFO, f"banner exchange: Connection from {SOURCE}: invalid format"),
            ],
            id="case 1",
        ),
        pytest.param(
            IdentificationError("protocol version 1.5 is not 2.0"),
            NOBODY,
            None,
            [
                (ERROR, "kex_exchange_identification: protocol version 1.5 is not 2.0"),
                (
                    INFO,
                    f"banner exchange: Connection from {SOURCE}: could not read protocol version",
                ),
            ],
            id="case 3",
        ),
        pytest.param(
            IntegrityError("corrupted MAC on input"),
            TRYING,
            None,
            [
                (
                    INFO,
                    (
                        f"ssh_dispatch_run_fatal: Connection from authenticating user eve {SOURCE}:"
                        " message authentication code incorrect [preauth]"
                    ),
                )
            ],
            id="case 43",
        ),
        pytest.param(
            TimedOut("Timeout before authentication"),
            TRYING,
            None,
            [(FATAL, f"Timeout before authentication for {SOURCE}")],
            id="LoginGraceTime",
        ),
        pytest.param(
            TimedOut("the key exchange was not finished in time"),
            NOBODY,
            None,
            [(INFO, f"Connection from {SOURCE} timed out [preauth]")],
            id="a key exchange without an end",
        ),
        pytest.param(
            TimedOut("the peer does not respond"),
            IN,
            None,
            [(INFO, f"Timeout, client not responding from user eve {SOURCE}")],
            id="ClientAliveCountMax",
        ),
        pytest.param(
            ProtocolError("Too many authentication failures"),
            TRYING,
            None,
            [
                (
                    ERROR,
                    (
                        "maximum authentication attempts exceeded for eve"
                        f" from {SOURCE} ssh2 [preauth]"
                    ),
                ),
                (
                    INFO,
                    (
                        f"Disconnecting authenticating user eve {SOURCE}:"
                        " Too many authentication failures [preauth]"
                    ),
                ),
            ],
            id="case 127",
        ),
        pytest.param(
            ProtocolError("Too many authentication failures"),
            INVALID,
            None,
            [
                (
                    ERROR,
                    (
                        "maximum authentication attempts exceeded for invalid user eve"
                        f" from {SOURCE} ssh2 [preauth]"
                    ),
                ),
                (
                    INFO,
                    (
                        f"Disconnecting invalid user eve {SOURCE}:"
                        " Too many authentication failures [preauth]"
                    ),
                ),
            ],
            id="case 127, and there is no such user",
        ),
        pytest.param(
            ProtocolError("bad \x07 thing"),
            IN,
            None,
            [(INFO, f"Disconnecting user eve {SOURCE}: bad \\007 thing")],
            id="a fault of the peer's",
        ),
        pytest.param(
            None, IN, None, [(INFO, f"Disconnected from user eve {SOURCE}")], id="our own goodbye"
        ),
    ],
)
def test_an_end_is_told_in_the_known_words(
    error: TellinError | None,
    standing: Standing,
    failure: OSError | None,
    expected: list[tuple[int, str]],
) -> None:
    assert lines(error, standing, failure=failure) == expected


@pytest.mark.parametrize("standing", [TRYING, INVALID])
def test_r204_a_name_is_one_bounded_piece_of_a_line(standing: Standing) -> None:
    name = "x\nAccepted password for root from 192.0.2.1 port 22 ssh2" + "y" * 1000
    for error in (lost(), ProtocolError("Too many authentication failures"), None):
        for _, line in lines(error, standing, user=name):
            assert "\n" not in line
            assert len(line) < 300
