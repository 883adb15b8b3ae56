# SPDX-License-Identifier: MIT
"""Files that a configuration names: those that are missing, and those that ssh or sshd refuse for their rights."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from tellin.config.linting.findings import Finding, Kind, Severity
from tellin.config.linting.survey import Statement, Survey
from tellin.config.ssh_reading import COMMAND_LINE
from tellin.config.surroundings import FileStatus, Surroundings
from tellin.config.tokens import expand_tilde
from tellin.errors import ConfigError
from tellin.wire import Record

# What a file's mode lets others do.
_ANY_FOR_OTHERS: Final = 0o077
_WRITE_FOR_OTHERS: Final = 0o022


class Demand(Record):
    """A row: what is asked of the file that a keyword names.

    ``refused`` says why a file that is there is not used, or nothing; ``missing`` what follows
    where there is none. With ``path``, every directory down to it is looked at.
    """

    attribute: str
    refused: Callable[[FileStatus, Surroundings], str]
    severity: Severity = Severity.ERROR
    hint: str = ""
    missing: str = ""
    missing_severity: Severity = Severity.WARNING
    path: bool = False
    relative: str = ""
    """What follows where the path is not absolute."""


def _secret(status: FileStatus, surroundings: Surroundings) -> str:
    # Of files of others only those see the mode who may read them anyway.
    if status.uid == surroundings.uid and status.mode & _ANY_FOR_OTHERS:
        return f"others may read or write it (mode {status.mode & 0o777:04o}), so it is not used"
    return ""


def _roots(status: FileStatus, surroundings: Surroundings) -> str:
    if status.uid != 0:
        return f"it belongs to user {status.uid} and not to root, so it is refused"
    if status.mode & _WRITE_FOR_OTHERS:
        return f"others may write it (mode {status.mode & 0o777:04o}), so it is refused"
    return ""


def _anything(status: FileStatus, surroundings: Surroundings) -> str:
    return ""


# fmt: off
CLIENT_DEMANDS: Final = (
    Demand("identity_file", _secret, hint="chmod 600", missing="there is no such key", missing_severity=Severity.NOTE),
    Demand("certificate_file", _anything, missing="there is no such certificate"),
    Demand("revoked_host_keys", _anything, missing="it cannot be read, so every host key is refused", missing_severity=Severity.ERROR),
)

SERVER_DEMANDS: Final = (
    Demand("host_key", _secret, hint="chmod 600", missing="there is no such key, so it is not offered"),
    Demand("host_certificate", _anything, missing="there is no such certificate, so it is not shown"),
    Demand("trusted_user_ca_keys", _anything, missing="there is no such file, so no certificate lets in"),
    Demand("revoked_keys", _anything, missing="it cannot be read, so every key is refused", missing_severity=Severity.ERROR),
    Demand("banner", _anything, missing="there is no such file, so nothing is shown", missing_severity=Severity.NOTE),
    Demand("moduli_file", _anything, missing="there is no such file, so group exchange has only groups of the standard"),
    Demand(
        "authorized_keys_command", _roots, hint="chown root, and chmod go-w, down from /", path=True,
        missing="there is no such program", missing_severity=Severity.ERROR, relative="it must be named by its full path",
    ),
    Demand(
        "authorized_principals_command", _roots, hint="chown root, and chmod go-w, down from /", path=True,
        missing="there is no such program", missing_severity=Severity.ERROR, relative="it must be named by its full path",
    ),
    Demand(
        "chroot_directory", _roots, hint="chown root, and chmod go-w, down from /", path=True,
        missing="there is no such directory", missing_severity=Severity.ERROR, relative="it must be a full path",
    ),
)
# fmt: on


def named_files(
    survey: Survey, statements: Sequence[Statement], demands: Sequence[Demand]
) -> Iterator[Finding]:
    """What is wrong with the files that keywords name; paths with tokens are each user's own."""
    by_attribute = {demand.attribute: demand for demand in demands}
    for said in statements:
        demand = by_attribute.get(said.row.attribute)
        if demand is not None:
            for path in _paths(said.value, survey.surroundings):
                yield from _judged(said, demand, path, survey.surroundings)


def _paths(value: Any, surroundings: Surroundings) -> Iterator[str]:
    for text in value if isinstance(value, tuple) else () if value is None else (value,):
        # A command's path ends at its first space.
        path = text.partition(" ")[0] if text.startswith("/") else text
        if "%" in path or "${" in path or path.lower() == "none":
            continue
        try:
            yield expand_tilde(path, surroundings.home, surroundings.home_of)
        except ConfigError:
            continue  # said where the value is read


def _judged(
    said: Statement, demand: Demand, path: str, surroundings: Surroundings
) -> Iterator[Finding]:
    def found(sentence: str, severity: Severity, hint: str = "") -> Finding:
        spelling = said.row.spelling
        return Finding(
            Kind.FILE, severity, said.file, said.line, spelling, f"{spelling} {sentence}", hint
        )

    if not path.startswith("/"):
        if demand.relative:
            yield found(f"{path[:80]}: {demand.relative}", Severity.ERROR)
        return
    for place in [*_above(path), path] if demand.path else [path]:
        status = surroundings.status(place)
        if status is None:
            if demand.missing:
                yield found(f"{place[:200]}: {demand.missing}", demand.missing_severity)
            return
        # A public key may be everybody's to read.
        refused = "" if place.endswith(".pub") else demand.refused(status, surroundings)
        if refused:
            yield found(f"{place[:200]}: {refused}", demand.severity, demand.hint)
            return


def _above(path: str) -> list[str]:
    """The directories above a path, from ``/`` down."""
    parts = [part for part in path.split("/") if part]
    return ["/", *("/" + "/".join(parts[:end]) for end in range(1, len(parts)))]


def own_files(survey: Survey) -> Iterator[Finding]:
    """Configuration files of a server that others than root may write: who may, decides who gets in."""
    for path in survey.files:
        status = survey.surroundings.status(path) if path != COMMAND_LINE else None
        if status is None:
            continue
        owners = {0, survey.surroundings.uid}
        if status.uid not in owners or status.mode & _WRITE_FOR_OTHERS:
            yield Finding(
                Kind.FILE,
                Severity.WARNING,
                path,
                0,
                "",
                f"others may write it (user {status.uid}, mode {status.mode & 0o777:04o}),"
                " and so decide who gets in",
                f"chown root {path}, and chmod go-w",
            )
