# SPDX-License-Identifier: MIT
"""``ssh`` that uses another one's connection: what it asks of the master, and how it waits for the end.

Nothing of the protocols is loaded for that: a command by way of a master takes little longer than
Python's own start.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NoReturn

from tellin.config.forwards import Forward
from tellin.config.patterns import match_pattern
from tellin.config.ssh_config import SshConfig
from tellin.errors import MalformedPacket, TellinError
from tellin.mux.messages import (
    ANSWERS,
    CHANNELS,
    CONNECTION,
    DYNAMIC,
    LOCAL,
    NO_ESCAPE,
    REMOTE,
    UNIX_SOCKET,
    VERSION,
    Alive,
    AliveCheck,
    AskInformation,
    CloseForward,
    Done,
    Exited,
    Failure,
    Hello,
    Information,
    MuxMessage,
    NewSession,
    NewStdioForward,
    OpenForward,
    PermissionDenied,
    Proxy,
    Proxying,
    RemotePort,
    SessionOpened,
    StopListening,
    TerminalRefused,
    Terminate,
    framed,
    kind_of,
    size_of,
)
from tellin.programs.command import visible
from tellin.programs.ssh.wishes import selected_environment, wants_terminal
from tellin.runtime.control_sockets import connect_control, remove_control
from tellin.runtime.journal import INFO, QUIET, Journal
from tellin.runtime.sockets import Socket

FAILED: Final = 255
COMMANDS: Final = (
    "check",
    "forward",
    "cancel",
    "stop",
    "exit",
    "proxy",
    "conninfo",
    "channels",
)
# Where a master that is there is used without a word of -O.
_JOINING: Final = ("no", "auto", "autoask")
_ENDING: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class MasterGone(TellinError):
    """The master has closed the socket."""


class Refused(TellinError):
    """What was asked for cannot be had here; where a connection of our own would do, we make one."""


class Passenger:
    """One conversation with a master."""

    def __init__(self, config: SshConfig, journal: Journal, stream: Socket) -> None:
        self._config = config
        self._journal = journal
        self._stream = stream
        self._request_id = 0
        self._master = 0
        # While the session runs there are signals to hear, too.
        self._loop: Any = None
        self._readable = self._killed = False

    # Messages

    def _send(self, message: MuxMessage) -> None:
        try:
            self._stream.sendall(framed(message))
        except OSError as error:
            raise MasterGone(f"write packet: {error.strerror}") from None

    def _read(self, size: int) -> bytes:
        made = bytearray()
        while len(made) < size:
            self._attend()
            try:
                piece = self._stream.recv(size - len(made))
            except OSError as error:
                raise MasterGone(error.strerror or str(error)) from None
            if not piece:
                raise MasterGone("Broken pipe")
            made += piece
        return bytes(made)

    def _attend(self) -> None:
        """Wait for the master's word, or for a signal, which is the end of it."""
        if self._loop is not None:
            self._readable = False
            self._loop.run_until(lambda: self._readable or self._killed)
        if self._killed:
            raise MasterGone("Interrupted system call")

    def _receive(self) -> Any:
        """The next message; raises MasterGone, and MalformedPacket for what is none."""
        frame = self._read(size_of(self._read(4)))
        kind = kind_of(frame)
        known = ANSWERS.get(kind)
        if known is None:
            raise MalformedPacket(f"unexpected response from master 0x{kind:08x}")
        return known.decode(frame)

    def _ask(self, kind: Callable[..., MuxMessage], *fields: Any) -> Any:
        """Ask for something, and the answer to it."""
        self._send(kind(self._request_id, *fields))
        return self._answer()

    def _answer(self) -> Any:
        answer = self._receive()
        mine = self._request_id
        theirs = getattr(answer, "request_id", mine)
        if theirs != mine:
            raise MalformedPacket(f"out of sequence reply: my id {mine} theirs {theirs}")
        self._request_id += 1
        return answer

    def greet(self) -> None:
        """Exchange HELLO; raises Refused where that is no master that we understand."""
        try:
            self._send(Hello(VERSION))
            hello = self._receive()
        except (MasterGone, MalformedPacket) as fault:
            self._journal.debug(f"mux_client_hello_exchange: {fault}")
            raise Refused("muxclient: master hello exchange failed") from None
        if type(hello) is not Hello or hello.version != VERSION:
            if type(hello) is Hello:
                self._journal.error(
                    f"Unsupported multiplexing protocol version {hello.version}"
                    f" (expected {VERSION})"
                )
            raise Refused("muxclient: master hello exchange failed")
        self._journal.debug2(f"mux_client_hello_exchange: master version {hello.version}")

    def _find_master(self) -> None:
        answer = self._ask(AliveCheck)
        if type(answer) is not Alive:
            raise Refused("mux_client_request_session: master alive request failed")
        self._master = answer.pid

    # What -O asks for

    def check(self) -> None:
        """Whether there is a master."""
        self._find_master()
        _print(f"Master running (pid={self._master})")

    def exit(self) -> None:
        """Ask the master to end."""
        self._journal.debug3("mux_client_request_terminate: entering")
        try:
            answer = self._ask(Terminate)
        except MasterGone:
            # It was quick.
            answer = Done(0)
        self._expect_done(answer, "termination request", "terminate")
        if self._journal.level > QUIET:
            _print("Exit request sent.")

    def stop(self) -> None:
        """Ask the master to take nobody else."""
        self._expect_done(self._ask(StopListening), "stop listening request", "stop_listening")
        if self._journal.level > QUIET:
            _print("Stop listening request sent.")

    def information(self, what: str) -> None:
        """Ask for what there is to know."""
        answer = self._ask(AskInformation, what.encode())
        if type(answer) is not Information:
            reason = _reason(answer)
            raise TellinError(f"mux_client_request_info: information request failed: {reason}")
        text = answer.text.decode("utf-8", "replace").splitlines()
        print("\n".join(map(visible, text)))

    def become_proxy(self) -> None:
        """Ask that from here on the socket carries packets."""
        answer = self._ask(Proxy)
        if type(answer) is not Proxying:
            raise TellinError(f"mux_client_proxy: master returned error: {_reason(answer)}")

    def _expect_done(self, answer: Any, what: str, name: str) -> None:
        if type(answer) is PermissionDenied:
            raise TellinError(f"Master refused {what}: {_reason(answer)}")
        if type(answer) is not Done:
            raise TellinError(f"mux_client_request_{name}: {what} failed: {_reason(answer)}")

    # Forwards

    def forwards(self, *, cancel: bool = False, shown: bool = False) -> bool:
        """Ask for all that the configuration names, or for the end of it; whether all went well."""
        config = self._config
        wanted = [
            *((LOCAL, one) for one in config.local_forward),
            *((DYNAMIC, one) for one in config.dynamic_forward),
            *((REMOTE, one) for one in config.remote_forward),
        ]
        # Each is asked for, whatever became of those before it.
        done = [self._forward(*one, cancel=cancel, shown=shown) for one in wanted]
        return all(done)

    def _forward(self, way: int, forward: Forward, *, cancel: bool, shown: bool) -> bool:
        kind = CloseForward if cancel else OpenForward
        answer = self._ask(kind, way, *ends(forward))
        if type(answer) is Done:
            return True
        if type(answer) is RemotePort and not cancel:
            where = f"{forward.host or forward.path}:{forward.port}"
            self._journal.verbose(f"Allocated port {answer.port} for remote forward to {where}")
            if shown:
                print(answer.port)
            return True
        if type(answer) is PermissionDenied:
            self._journal.error(f"Master refused forwarding request: {_reason(answer)}")
        else:
            reason = _reason(answer)
            self._journal.error(f"mux_client_forward: forwarding request failed: {reason}")
        return False

    # Sessions

    def session(self, command: bytes) -> int:
        """Run a command or a shell by way of the master; its exit status."""
        config = self._config
        self._find_master()
        terminal = wants_terminal(config, self._journal, command=bool(command))
        variables = selected_environment(config.send_env, config.set_env, fits=match_pattern)
        name = dict(variables).get(b"TERM") or os.environb.get(b"TERM", b"")
        self._send(
            NewSession(
                self._request_id,
                b"",
                int(terminal),
                int(config.forward_x11),
                int(config.forward_agent != "no"),
                int(config.session_type == "subsystem"),
                ord(config.escape_char) if config.escape_char else NO_ESCAPE,
                name,
                command,
                tuple(name + b"=" + value for name, value in variables),
            )
        )
        self._hand_over(0, 1, 2)
        opened = self._opened("session")
        if config.fork_after_authentication:
            go_to_background()
        self._hear_signals()
        return self._wait(opened.session_id, terminal=terminal)

    def stdio(self, place: Forward) -> int:
        """Lead standard input and output to a port behind the server."""
        self._find_master()
        host = os.fsencode(place.listen_path or place.listen_host or "")
        port = UNIX_SOCKET if place.listen_path else place.listen_port
        self._send(NewStdioForward(self._request_id, b"", host, port))
        self._hand_over(0, 1)
        try:
            self._opened("stdio")
        except Refused as fault:
            raise TellinError(str(fault)) from None
        self._hear_signals()
        with suppress(MasterGone):
            raise MalformedPacket(f"master returned unexpected message {self._receive()!r}")
        return 0

    def _hand_over(self, *descriptors: int) -> None:
        # Imported here: -O needs neither.
        from _socket import SCM_RIGHTS, SOL_SOCKET
        from array import array

        if self._config.stdin_null:
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.close(null)
        try:
            for fd in descriptors:
                # A byte each: that is what the master counts.
                self._stream.sendmsg([b"\0"], [(SOL_SOCKET, SCM_RIGHTS, array("i", [fd]))])
        except OSError as error:
            raise TellinError(f"send fds failed: {error.strerror}") from None

    def _opened(self, what: str) -> SessionOpened:
        where = (
            f"mux_client_request_{what}" if what == "session" else "mux_client_request_stdio_fwd"
        )
        try:
            answer = self._answer()
        except MasterGone as fault:
            raise Refused(f"{where}: read from master failed: {fault}") from None
        if isinstance(answer, SessionOpened):
            self._journal.debug(f"{where}: master session id: {answer.session_id}")
            return answer
        asked = "session request" if what == "session" else "stdio forwarding request"
        if type(answer) is PermissionDenied:
            raise Refused(f"Master refused {asked}: {_reason(answer)}")
        if what == "session":
            raise Refused(f"{where}: {asked} failed: {_reason(answer)}")
        raise Refused(f"Stdio forwarding request failed: {_reason(answer)}")

    def _hear_signals(self) -> None:
        # Imported here: -O does without.
        from tellin.runtime.loop import SmallLoop

        self._loop = loop = SmallLoop()
        loop.add_reader(self._stream.fileno(), self._note_readable)
        for number in _ENDING:
            # An ignored signal stays ignored (nohup).
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal(number, self._note_killed)
        # The window's size is the master's to read: it has the terminal's descriptor.
        loop.add_signal(signal.SIGWINCH, self._resized)

    def _note_readable(self) -> None:
        self._readable = True

    def _note_killed(self) -> None:
        self._killed = True

    def _resized(self) -> None:
        if self._master > 1:
            with suppress(OSError):
                os.kill(self._master, signal.SIGWINCH)

    def _wait(self, session_id: int, *, terminal: bool) -> int:
        """Stay until the master lets go; the status that it told."""
        raw: Any = None
        if terminal and os.isatty(0) and not self._config.fork_after_authentication:
            # Who has no terminal does not wait for this.
            from tellin.runtime.terminal import RawMode

            raw = RawMode(0)
            raw.enter()
            # The window may have changed before there was anybody to hear of it.
            self._resized()
        status: int | None = None
        try:
            while True:
                message = self._receive()
                if getattr(message, "session_id", None) != session_id:
                    raise TellinError(f"master returned error: {_reason(message)}")
                if type(message) is TerminalRefused and raw is not None:
                    raw.leave()
                elif type(message) is Exited:
                    status = message.status
        except MasterGone:
            if status is None and not self._killed:
                self._journal.debug2("Control master terminated unexpectedly")
        finally:
            if raw is not None:
                raw.leave()
        if terminal and self._journal.level >= INFO:
            _print(f"Shared connection to {visible(self._config.host)} closed.")
        return FAILED if status is None or self._killed else status & 0xFF


def ends(forward: Forward) -> tuple[bytes, int, bytes, int]:
    """The two ends of a forward as the messages write them."""
    if forward.listen_path:
        listen, listen_port = forward.listen_path, UNIX_SOCKET
    else:
        # Nothing said, and every address, are not the same.
        listen = "*" if forward.listen_host == "" else forward.listen_host or ""
        listen_port = forward.listen_port
    if forward.path:
        connect, port = forward.path, UNIX_SOCKET
    else:
        connect, port = forward.host or "socks", forward.port
    return os.fsencode(listen), listen_port, os.fsencode(connect), port


def go_to_background() -> None:
    """Leave the shell its prompt; the child stays as its parent was."""
    if os.fork():
        os._exit(0)
    os.setsid()


def _reason(answer: Any) -> str:
    if isinstance(answer, Failure | PermissionDenied):
        return answer.reason.decode("utf-8", "replace")
    return f"unexpected response from master 0x{answer.kind:08x}"


def _print(line: str) -> None:
    sys.stderr.write(f"{line}\r\n")


def ride(
    config: SshConfig,
    journal: Journal,
    *,
    command: bytes = b"",
    stdio: Forward | None = None,
    control: str = "",
) -> int | None:
    """Do it by way of the master at ControlPath; None where there is none, and we may connect."""
    path = config.control_path
    assert path is not None
    if not control and config.control_master not in _JOINING:
        return None
    if config.control_master in {"auto", "autoask"}:
        journal.debug("auto-mux: Trying existing master")
    stream = _connect(config, journal, path, control)
    if stream is None:
        return None
    passenger = Passenger(config, journal, stream)
    try:
        passenger.greet()
        if control == "proxy":
            passenger.become_proxy()
            # Who speaks for itself needs more than a passenger does.
            from tellin.programs.ssh.by_proxy import ByProxy

            return ByProxy(config, journal, stream, command=command).run()
        if control:
            return _control(passenger, control)
        if stdio is not None:
            return passenger.stdio(stdio)
        if passenger.forwards():
            return passenger.session(command)
        journal.error("muxclient: master forward request failed")
        return None
    except (Refused, MasterGone) as fault:
        if control:
            raise TellinError(str(fault)) from None
        # A connection of our own will do.
        journal.error(str(fault))
        return None
    finally:
        stream.close()


def _control(passenger: Passenger, control: str) -> int:
    if control == "forward":
        if not passenger.forwards(shown=True):
            raise TellinError("muxclient: master forward request failed")
    elif control == "cancel":
        if not passenger.forwards(cancel=True):
            passenger._journal.error("muxclient: master cancel forward request failed")
    elif control in {"conninfo", "channels"}:
        passenger.information(CONNECTION if control == "conninfo" else CHANNELS)
    else:
        {"check": passenger.check, "exit": passenger.exit, "stop": passenger.stop}[control]()
    return 0


def _connect(config: SshConfig, journal: Journal, path: str, control: str) -> Socket | None:
    shown = visible(path)
    try:
        return connect_control(path)
    except FileNotFoundError as error:
        if control:
            _fail(shown, error)
        journal.debug(f'Control socket "{shown}" does not exist')
    except ConnectionRefusedError as error:
        if control:
            _fail(shown, error)
        if config.control_master != "no":
            journal.debug(f"Stale control socket {shown}, unlinking")
            remove_control(path)
        else:
            journal.error(f"Control socket connect({shown}): {error.strerror}")
    except OSError as error:
        if control:
            _fail(shown, error)
        journal.error(f"Control socket connect({shown}): {error.strerror}")
    return None


def _fail(shown: str, error: OSError) -> NoReturn:
    raise TellinError(f"Control socket connect({shown}): {error.strerror}")
