# SPDX-License-Identifier: MIT
"""One line for each end of a connection, in the words that scripts look for."""

import errno
import os

import pytest

from tellin.client.endings import Place, Stage, afterword, told
from tellin.errors import (
    AuthenticationFailed,
    ConnectFailed,
    ConnectionLost,
    Disconnected,
    HostKeyChanged,
    IdentificationError,
    IntegrityError,
    MalformedPacket,
    NegotiationFailed,
    TellinError,
    TimedOut,
)

PLACE = Place("host", "192.0.2.1", 2222)
LOST = ConnectionLost("the peer closed the connection")
LATE = TimedOut("late")


def broken(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "stage", "failure", "lines"),
    [
        (
            ConnectFailed("connect to host h port 1: Connection refused"),
            Stage.CONNECTING,
            None,
            ["ssh: connect to host h port 1: Connection refused"],
        ),
        (
            LOST,
            Stage.BANNER,
            None,
            ["kex_exchange_identification: Connection closed by remote host"],
        ),
        (
            LOST,
            Stage.BANNER,
            broken(errno.ECONNRESET),
            ["kex_exchange_identification: read: Connection reset by peer"],
        ),
        (
            LOST,
            Stage.BANNER,
            broken(errno.EPIPE),
            ["kex_exchange_identification: Connection closed by remote host"],
        ),
        (LOST, Stage.EXCHANGE, None, ["Connection closed by 192.0.2.1 port 2222"]),
        (LOST, Stage.LOGIN, None, ["Connection closed by 192.0.2.1 port 2222"]),
        (
            LOST,
            Stage.LOGIN,
            broken(errno.ECONNRESET),
            ["Connection reset by 192.0.2.1 port 2222"],
        ),
        (LOST, Stage.SESSION, None, ["Connection to host closed by remote host."]),
        (
            LOST,
            Stage.SESSION,
            broken(errno.ECONNRESET),
            ["Read from remote host host: Connection reset by peer"],
        ),
        (LATE, Stage.BANNER, None, ["Connection timed out during banner exchange"]),
        (LATE, Stage.EXCHANGE, None, ["Connection to 192.0.2.1 port 2222 timed out"]),
        (LATE, Stage.SESSION, None, ["Timeout, server host not responding."]),
        (
            Disconnected(2, "Too many authentication failures"),
            Stage.LOGIN,
            None,
            ["Received disconnect from 192.0.2.1 port 2222:2: Too many authentication failures"],
        ),
        (
            IdentificationError("protocol version 1.5 is not 2.0"),
            Stage.BANNER,
            None,
            ["kex_exchange_identification: protocol version 1.5 is not 2.0"],
        ),
        (
            NegotiationFailed("cipher", ["a", "b"], ["c"]),
            Stage.EXCHANGE,
            None,
            [
                (
                    "Unable to negotiate with 192.0.2.1 port 2222: no matching cipher found."
                    " Their offer: c; ours: a,b"
                )
            ],
        ),
        (
            IntegrityError("a packet whose tag does not fit"),
            Stage.SESSION,
            None,
            [
                "Corrupted MAC on input.",
                (
                    "ssh_dispatch_run_fatal: Connection to 192.0.2.1 port 2222:"
                    " message authentication code incorrect"
                ),
            ],
        ),
        (
            HostKeyChanged("Host key for h has changed and you have requested strict checking."),
            Stage.EXCHANGE,
            None,
            [
                "Host key for h has changed and you have requested strict checking.",
                "Host key verification failed.",
            ],
        ),
        (
            AuthenticationFailed("u@h: Permission denied (publickey)."),
            Stage.LOGIN,
            None,
            ["u@h: Permission denied (publickey)."],
        ),
        (
            MalformedPacket("Bad packet length 7."),
            Stage.SESSION,
            None,
            ["ssh_dispatch_run_fatal: Connection to 192.0.2.1 port 2222: Bad packet length 7."],
        ),
    ],
)
def test_the_words(
    error: TellinError, stage: Stage, failure: OSError | None, lines: list[str]
) -> None:
    assert list(told(error, PLACE, stage, failure)) == lines


def test_without_an_address_the_words_are_openssh_s() -> None:
    assert told(LOST, Place("host"), Stage.LOGIN) == ("Connection closed by UNKNOWN port 65535",)


@pytest.mark.parametrize(
    ("error", "stage", "failure", "line"),
    [
        (LOST, Stage.BANNER, None, "Connection closed by UNKNOWN port 65535"),
        (LOST, Stage.BANNER, broken(errno.ECONNRESET), "Connection reset by UNKNOWN port 65535"),
        (LATE, Stage.BANNER, None, "Connection to UNKNOWN port 65535 timed out"),
        (LOST, Stage.EXCHANGE, None, ""),
        (IdentificationError("not an SSH server"), Stage.BANNER, None, ""),
    ],
)
def test_a_command_that_leads_to_nobody_has_a_second_line(
    error: TellinError, stage: Stage, failure: OSError | None, line: str
) -> None:
    assert afterword(error, Place("host"), stage, failure) == line
    assert afterword(error, PLACE, stage, failure) == ""
