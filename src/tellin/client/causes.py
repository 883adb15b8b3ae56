# SPDX-License-Identifier: MIT
"""Why a login has failed: of all that went wrong, what went wrong first."""

from collections.abc import Iterable, Sequence

from tellin.client.authentication.credentials import Callbacks, DeferredIdentity
from tellin.client.authentication.identities import Identity
from tellin.client.connected import Connection, Driver
from tellin.errors import AuthenticationFailed, ConnectionLost, HostKeyChanged, TellinError
from tellin.userauth.messages import KEYBOARD_INTERACTIVE, PASSWORD


def first_cause(
    connection: Connection,
    driver: Driver,
    callbacks: Callbacks,
    *,
    identities: Sequence[Identity],
    unused: Iterable[str],
    pinned: bool,
) -> BaseException:
    """What to raise; ``unused`` says which keys came to nothing, ``pinned`` that the program named the host's."""
    if callbacks.failure is not None:
        return callbacks.failure
    if driver.failure is not None:
        return driver.failure
    error, host = connection.error, connection.host
    if error is None:
        return ConnectionLost(f"{host}: the connection was closed", stage=connection.core.stage)
    if isinstance(error, AuthenticationFailed):
        return _explained(error, callbacks, identities, unused)
    if isinstance(error, HostKeyChanged) and pinned:
        other = HostKeyChanged(
            f"{host}: the server's host key {error.fingerprint} is none of those given",
            hint="ask whoever runs the server for its fingerprint before you give this key",
        )
        other.fingerprint, other.stage, other.__cause__ = error.fingerprint, error.stage, error
        return other
    return error


def _explained(
    error: AuthenticationFailed,
    callbacks: Callbacks,
    identities: Sequence[Identity],
    left_out: Iterable[str],
) -> Exception:
    """A refused login, with what kept us from showing more; or what the user's own code raised."""
    unused = [*error.unused, *left_out]
    for identity in identities:
        fault = identity.fault if isinstance(identity, DeferredIdentity) else None
        if fault is None:
            continue
        if not isinstance(fault, TellinError):
            return fault
        said = str(fault)
        unused.append(said if identity.name in said else f"{identity.name} ({said})")
        error.__cause__ = error.__cause__ or fault
    if callbacks.knows_password and not {PASSWORD, KEYBOARD_INTERACTIVE} & {
        *error.allowed,
        *error.tried,
    }:
        unused.append("the password (the server takes none)")
    error.unused = tuple(unused)
    if unused:
        error.hint = f"not used: {'; '.join(unused)}"
    return error
