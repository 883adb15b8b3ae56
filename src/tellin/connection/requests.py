# SPDX-License-Identifier: MIT
"""Channel and global requests by name, and what each carries (RFC 4254 sections 4, 6)."""

# The annotations are the layout: no ``from __future__ import annotations`` here.

from typing import ClassVar

from tellin.wire import Boolean, Message, Rest, String, Text, UInt32


class Request(Message):
    """The data of a channel request; a class with ``name=`` registers itself."""

    name: ClassVar[str] = ""
    named: ClassVar[dict[str, type["Request"]]] = {}

    def __init_subclass__(cls, *, name: str = "", secret: tuple[str, ...] = ()) -> None:
        super().__init_subclass__(secret=secret)
        if name:
            cls.name = name
            Request.named[name] = cls


class UnknownRequest(Request):
    """A request whose name we do not know."""

    asked: Text
    data: Rest


class PtyRequest(Request, name="pty-req"):
    """A terminal for the session (RFC 4254 section 6.2); ``modes`` is the encoded list of section 8."""

    terminal: Text
    columns: UInt32
    rows: UInt32
    width_pixels: UInt32
    height_pixels: UInt32
    modes: String


class X11Request(Request, name="x11-req", secret=("cookie",)):
    """X11 forwarding for the session (RFC 4254 section 6.3.1)."""

    single_connection: Boolean
    protocol: Text
    cookie: Text
    screen: UInt32


class EnvironmentRequest(Request, name="env"):
    """A variable for the command (RFC 4254 section 6.4)."""

    variable: String
    value: String


class ShellRequest(Request, name="shell"):
    """The user's login shell (RFC 4254 section 6.5)."""


class ExecRequest(Request, name="exec"):
    """A command (RFC 4254 section 6.5); bytes, because a shell takes any."""

    command: String


class SubsystemRequest(Request, name="subsystem"):
    """A subsystem such as sftp (RFC 4254 section 6.5)."""

    subsystem: Text


class WindowChange(Request, name="window-change"):
    """The terminal has another size now (RFC 4254 section 6.7)."""

    columns: UInt32
    rows: UInt32
    width_pixels: UInt32
    height_pixels: UInt32


class XonXoff(Request, name="xon-xoff"):
    """Whether the client may do flow control itself (RFC 4254 section 6.8)."""

    client_can_do: Boolean


class SignalRequest(Request, name="signal"):
    """A signal for the command, by name without SIG (RFC 4254 section 6.9)."""

    signal: Text


class BreakRequest(Request, name="break"):
    """A BREAK of so many milliseconds (RFC 4335)."""

    milliseconds: UInt32


class ExitStatus(Request, name="exit-status"):
    """How the command ended (RFC 4254 section 6.10)."""

    status: UInt32


class ExitSignal(Request, name="exit-signal"):
    """The signal that ended the command (RFC 4254 section 6.10)."""

    signal: Text
    core_dumped: Boolean
    message: String
    language: String


class AgentForwarding(Request, name="auth-agent-req@openssh.com"):
    """The session may reach the user's agent."""


class EndOfWrite(Request, name="eow@openssh.com"):
    """The sender will read no more: the writer may stop."""


# Global requests that carry no data of their own need only their names.
KEEPALIVE = "keepalive@openssh.com"
NO_MORE_SESSIONS = "no-more-sessions@openssh.com"
