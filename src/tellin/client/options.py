# SPDX-License-Identifier: MIT
"""The keyword arguments of ``connect``, ``run`` and ``start``, for whoever passes them on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

from tellin.client.arguments import Path
from tellin.client.authentication.agents import Agent
from tellin.client.authentication.credentials import (
    ChangePassword,
    Key,
    Passphrase,
    Password,
    Questions,
    UserCertificate,
)
from tellin.client.display import Display
from tellin.client.hosts.trust import HostKeys, KnownHostsSource, RevokedHostKeys
from tellin.protocol.core import KeepAlive
from tellin.runtime.redirection import Source, Target

Command: TypeAlias = str | bytes
Input: TypeAlias = str | bytes | bytearray | memoryview
Algorithms: TypeAlias = str | Sequence[str] | None
"""A list in OpenSSH's syntax ("+name", "-name", "^name", patterns), or the names themselves."""


class SessionOptions(TypedDict, total=False):
    """What a session is asked for; what each of them does stands with ``Connection.start``."""

    errors: str
    env: Mapping[str, str] | None
    term: str | None
    term_size: tuple[int, int]
    term_modes: Mapping[int, int] | None
    x11: bool | Display


class OutcomeOptions(TypedDict, total=False):
    """What only ``Connection.run`` takes."""

    check: bool
    timeout: float | None
    input: Input | None


class StreamOptions(TypedDict, total=False):
    """Where a session's streams come from and go to."""

    stdin: Source
    stdout: Target
    stderr: Target


class StartOptions(SessionOptions, StreamOptions, total=False):
    """How a process is started."""


class RunOptions(StartOptions, OutcomeOptions, total=False):
    """The same for ``Connection.run``."""


class SubsystemOptions(StreamOptions, total=False):
    """How a subsystem is started."""

    env: Mapping[str, str] | None


class ConnectOptions(TypedDict, total=False):
    """How a connection is made; what each of them does stands with ``connect``."""

    port: int | None
    user: str | None
    host_keys: HostKeys
    known_hosts: KnownHostsSource
    keys: Sequence[Key]
    certificates: Sequence[UserCertificate]
    agent: Path | Agent | None
    forward_agent: Path | Agent | None
    revoked_host_keys: RevokedHostKeys
    passphrase: Passphrase | None
    password: Password | None
    questions: Questions | None
    change_password: ChangePassword | None
    config: Path | None
    options: Sequence[str]
    sock: Any
    connect_timeout: float | None
    login_timeout: float | None
    keepalive: float | KeepAlive | None
    compression: bool | None
    ciphers: Algorithms
    macs: Algorithms
    key_exchanges: Algorithms
    host_key_algorithms: Algorithms
    key_algorithms: Algorithms
    rekey_limit: int | None
    clock: Callable[[], float]
