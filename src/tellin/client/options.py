# SPDX-License-Identifier: MIT
"""The keyword arguments of ``connect``, ``run`` and ``start``, for whoever passes them on."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

from tellin.client.credentials import ChangePassword, Key, Passphrase, Password, Questions
from tellin.client.trust import HostKeys, KnownHostsSource, Path
from tellin.protocol.core import KeepAlive
from tellin.runtime.redirection import Source, Target

Command: TypeAlias = str | bytes
Input: TypeAlias = str | bytes | bytearray | memoryview
Algorithms: TypeAlias = str | Sequence[str] | None
"""A list in OpenSSH's syntax ("+name", "-name", "^name", patterns), or the names themselves."""


class StartOptions(TypedDict, total=False):
    """How a process is started; what each of them does stands with ``Connection.start``."""

    errors: str
    stdin: Source
    stdout: Target
    stderr: Target
    env: Mapping[str, str] | None
    term: str | None
    term_size: tuple[int, int]
    term_modes: Mapping[int, int] | None


class RunOptions(StartOptions, total=False):
    """The same for ``Connection.run``, and what only that takes."""

    check: bool
    timeout: float | None
    input: Input | None


class ConnectOptions(TypedDict, total=False):
    """How a connection is made; what each of them does stands with ``connect``."""

    port: int | None
    user: str | None
    host_keys: HostKeys
    known_hosts: KnownHostsSource
    keys: Sequence[Key]
    passphrase: Passphrase | None
    password: Password | None
    questions: Questions | None
    change_password: ChangePassword | None
    config: Path | None
    sock: Any
    connect_timeout: float | None
    login_timeout: float | None
    keepalive: float | KeepAlive | None
    compression: bool | None
    ciphers: Algorithms
    macs: Algorithms
    key_exchanges: Algorithms
    host_key_algorithms: Algorithms
    rekey_limit: int | None
