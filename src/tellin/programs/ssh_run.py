# SPDX-License-Identifier: MIT
"""``ssh`` once it is connecting: the check of the server, the login, one session, and the end of it."""

import _socket
import os
import signal
from contextlib import suppress
from typing import Any, Final

from tellin.client.asking import TerminalPrompter
from tellin.client.connection import ClientConnection
from tellin.client.escapes import Escapes
from tellin.client.host_keys import FileRecords, HostKeyCheck, HostKeyPolicy, HostPlace
from tellin.client.identities import FileKeys, KeyPolicy
from tellin.client.journal import INFO, Journal
from tellin.client.login import Login
from tellin.client.preferences import keepalive, login_plan, required_rsa_size, settings
from tellin.client.questions import Nobody, Prompter
from tellin.client.session import Session, SessionPlan, selected_environment
from tellin.config.kinds import traffic_class
from tellin.config.patterns import match_pattern
from tellin.config.ssh_config import SshConfig
from tellin.connection.requests import (
    NO_MORE_SESSIONS,
    ExecRequest,
    Request,
    ShellRequest,
    SubsystemRequest,
)
from tellin.keys.public import PublicKey
from tellin.programs.command import Failure
from tellin.programs.ssh_connecting import Connecting
from tellin.programs.ssh_terminal import Terminal
from tellin.protocol.events import Authenticated
from tellin.runtime.loop import SmallLoop
from tellin.userauth.messages import KEYBOARD_INTERACTIVE, PASSWORD
from tellin.userauth.text import escape_text

FAILED: Final = 255
_ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Run:
    """One run of ``ssh``."""

    connection: ClientConnection

    def __init__(
        self,
        loop: SmallLoop,
        config: SshConfig,
        journal: Journal,
        connecting: Connecting,
        *,
        command: list[str],
    ) -> None:
        self._loop = loop
        self._config = config
        self._journal = journal
        self._connecting = connecting
        self._command = _command(command, config)
        self._over = False
        self._status = FAILED
        self.session: Session | None = None
        self._terminal: Terminal | None = None
        self._host_key: PublicKey | None = None
        self._killed = 0

    def run(self) -> int:
        """Go through all of it; the exit status."""
        config, journal = self._config, self._journal
        for warning in config.warnings:
            journal.info(warning)
        for left_out in config.not_yet:
            journal.verbose(
                f"{left_out.file} line {left_out.line}:"
                f" {left_out.keyword} is not supported and is left out"
            )
        made = settings(config)
        stream = self._connecting.wait()
        remaining = self._connecting.remaining()
        if remaining is not None:
            made.exchange_timeout = remaining
        self.connection = ClientConnection(
            self._loop,
            stream,
            made,
            self._connecting.place,
            journal=journal,
            keepalive=keepalive(config),
            on_ready=self._ready,
            on_event=self._event,
            on_over=self._ended,
            on_banner=self._banner,
        )
        self._prepare_login()
        for number in _ENDINGS:
            # An ignored signal stays ignored (nohup).
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._loop.add_signal(number, self._signalled, number)
        try:
            self._loop.run_until(self._is_over)
        finally:
            if self._terminal is not None:
                self._terminal.leave()
            self._connecting.end()
        return self._result()

    def _is_over(self) -> bool:
        return self._over and (self.session is None or self.session.is_over)

    # The login

    def _prepare_login(self) -> None:
        config, journal, connection = self._config, self._journal, self.connection
        prompter: Prompter = (
            Nobody()
            if config.batch_mode
            else TerminalPrompter(
                journal,
                who=f"{config.user}@{config.host_argument}",
                visual=config.visual_host_key,
            )
        )
        place = connection.place
        connection.login = Login(
            connection.core,
            login_plan(config, host=config.host_argument),
            keys=[
                FileKeys(
                    config.identity_file,
                    explicit=config.is_set("identity_file"),
                    policy=KeyPolicy(
                        prompts=config.number_of_password_prompts, batch=config.batch_mode
                    ),
                    prompter=prompter,
                    journal=journal,
                )
            ],
            prompter=prompter,
            journal=journal,
        )
        connection.check = HostKeyCheck(
            connection.core,
            HostPlace(
                host=config.host,
                port=config.port,
                alias=config.host_key_alias or "",
                address="" if config.proxy_command else place.address,
                check_address=config.check_host_ip,
            ),
            policy=HostKeyPolicy(config.strict_host_key_checking),
            records=FileRecords(
                config.user_known_hosts_file, config.global_known_hosts_file, journal
            ),
            prompter=prompter,
            journal=journal,
            hash_names=config.hash_known_hosts,
            fingerprint_hash=config.fingerprint_hash,
            required_rsa_size=required_rsa_size(config),
            on_unsafe=lambda: connection.login.forbid(PASSWORD, KEYBOARD_INTERACTIVE),
            on_trusted=self._trusted,
        )
        if journal.debugs:
            who = f"{place.host}:{config.port}"
            journal.debug(f"Authenticating to {who} as '{config.user}'")

    def _trusted(self, key: PublicKey) -> None:
        self._host_key = key
        if self._config.visual_host_key and self._journal.level >= INFO:
            from tellin.keys.randomart import randomart

            self._journal.info(f"Host key fingerprint is {key.fingerprint()}")
            for line in randomart(key).splitlines():
                self._journal.info(line)

    def _banner(self, text: str) -> None:
        if self._journal.level >= INFO:
            _write(2, escape_text(text, keep_newlines=True).encode())

    def _ready(self, event: Authenticated) -> None:
        config, journal, place = self._config, self._journal, self.connection.place
        how = f'using "{event.method}".'
        where = f"{place.host} ([{place.address}]:{place.port})"
        if not self.connection.login.proved and os.isatty(2):
            # R023: whatever asks for a secret from here on is no part of the login any more.
            journal.info(f"Authenticated to {where} without any proof of who you are.")
        else:
            journal.verbose(f"Authenticated to {where} {how}")
        self._warn_of_weak_exchange()
        if config.fork_after_authentication:
            self._go_to_background()
        if config.session_type == "none":
            self._status = 0
            journal.debug("Entering interactive session.")
            return
        wants_terminal = self._wants_terminal()
        self._set_traffic_class(interactive=wants_terminal)
        self._start_session(wants_terminal=wants_terminal)

    def _warn_of_weak_exchange(self) -> None:
        config, journal = self._config, self._journal
        algorithms = self.connection.core.algorithms
        # For people: scripts compare standard error with what a command wrote there.
        wanted = config.is_set("warn_weak_crypto") or os.isatty(2)
        if not wanted or config.warn_weak_crypto == "no" or algorithms is None:
            return
        from tellin.algorithms.key_exchange import KEY_EXCHANGES

        if not KEY_EXCHANGES[algorithms.key_exchange].post_quantum:
            journal.info(
                "** WARNING: connection is not using a post-quantum key exchange algorithm."
            )
            journal.info(
                "** What is recorded of it today may be read by a quantum computer one day."
            )

    def _set_traffic_class(self, *, interactive: bool) -> None:
        value = traffic_class(self._config.ip_qos[0 if interactive else 1])
        stream = self.connection.link.stream
        if value is None or not isinstance(stream, _socket.socket):
            return
        if stream.family == _socket.AF_INET:
            stream.setsockopt(_socket.IPPROTO_IP, _socket.IP_TOS, value)
        elif stream.family == _socket.AF_INET6:
            stream.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_TCLASS, value)

    def _go_to_background(self) -> None:
        self._journal.debug("forking to background")
        if os.fork():
            # Without a word: the child has the terminal's output and the connection.
            os._exit(0)
        os.setsid()
        if self._config.session_type == "none":
            # Whoever reads our output (``$(ssh -fN host)``) waits for its end.
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1) if self._journal.debugs else (0, 1, 2):
                os.dup2(null, fd)

    # The session

    def _wants_terminal(self) -> bool:
        config = self._config
        if config.session_type != "default" or config.request_tty == "no":
            return False
        if config.request_tty == "force":
            return True
        if self._command and config.request_tty != "yes":
            return False
        if config.stdin_null or not os.isatty(0):
            self._journal.info(
                "Pseudo-terminal will not be allocated because stdin is not a terminal."
            )
            return False
        return True

    def _request(self) -> Request:
        if self._config.session_type == "subsystem":
            return SubsystemRequest(os.fsdecode(self._command))
        return ExecRequest(self._command) if self._command else ShellRequest()

    def _start_session(self, *, wants_terminal: bool) -> None:
        config, journal, connection = self._config, self._journal, self.connection
        journal.debug("Entering interactive session.")
        terminal = None
        edit = None
        if wants_terminal:
            self._terminal = Terminal(self, self._loop, journal)
            terminal = self._terminal.request()
            if config.escape_char:
                edit = Escapes(config.escape_char, self._terminal).edit
        request = self._request()
        if journal.debugs and self._command:
            journal.debug(f"Sending command: {os.fsdecode(self._command)}")
        self.session = Session(
            self._loop,
            connection.link,
            connection.core,
            SessionPlan(
                request,
                environment=selected_environment(
                    config.send_env, config.set_env, fits=match_pattern
                ),
                terminal=terminal,
                stdin=os.open(os.devnull, os.O_RDONLY) if config.stdin_null else 0,
                edit=edit,
            ),
            journal=journal,
            on_over=self._session_over,
            on_started=self._session_started,
        )
        connection.link.flush_soon()

    def _session_started(self) -> None:
        # Nothing else will be opened: a command on the other side that takes over this
        # connection's socket cannot do so either.
        self.connection.core.request(NO_MORE_SESSIONS)
        if self._terminal is not None:
            self._terminal.enter()

    def _session_over(self) -> None:
        assert self.session is not None
        self._status = self.session.status
        self.connection.quit()

    def _event(self, event: Any) -> None:
        if self.session is not None:
            self.session.handle(event)

    # The end

    def _ended(self) -> None:
        self._over = True
        if self.session is not None:
            self.session.lost()

    def terminate(self) -> None:
        """End the connection because the user said so."""
        self._status = FAILED
        self.connection.quit()

    def _signalled(self, number: int) -> None:
        self._killed = number
        self.terminate()

    def _result(self) -> int:
        connection, journal = self.connection, self._journal
        if self._terminal is not None and self._terminal.entered:
            journal.info(f"Connection to {connection.place.host} closed.")
        if self._killed:
            journal.verbose(f"Killed by signal {self._killed}.")
            return FAILED
        # What the server says after the command has ended is of no interest.
        if self.session is not None and self.session.finished:
            return self._status
        for line in connection.reasons():
            journal.fatal(line)
        if connection.error is not None:
            if connection.error.hint and os.isatty(2):
                journal.info(connection.error.hint)
            return FAILED
        return self._status


def _command(words: list[str], config: SshConfig) -> bytes:
    """The command as the shell on the other side gets it, or nothing for a shell."""
    configured = config.remote_command
    if words and configured and config.session_type == "default":
        raise Failure("Cannot execute command-line and remote command.")
    command = os.fsencode(" ".join(words)) if words else os.fsencode(configured or "")
    if config.session_type == "subsystem" and not command:
        raise Failure("You must specify a subsystem to invoke.")
    if config.session_type == "none" and command:
        raise Failure("Cannot specify a command with -N.")
    return command


def _write(fd: int, data: bytes) -> None:
    # A banner that nobody reads is no reason to give up.
    with suppress(OSError):
        os.write(fd, data)
