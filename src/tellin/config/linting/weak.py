# SPDX-License-Identifier: MIT
"""Values that let more in, or more out, than they should: one row a reason."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from tellin.config.algorithm_lists import named
from tellin.config.keywords import KeywordFile
from tellin.config.linting.coverage import for_everybody
from tellin.config.linting.findings import Finding, Kind, Severity
from tellin.config.linting.survey import Statement
from tellin.config.patterns import match_pattern
from tellin.errors import ConfigError
from tellin.wire import Record

WARNING, NOTE = Severity.WARNING, Severity.NOTE


class Weakness(Record):
    """A row: where ``weak`` is true of a keyword's value, ``sentence`` says what follows from it.

    ``weak`` also gets what holds beside it. With ``for_all``, it only matters where it holds for
    every host.
    """

    attribute: str
    severity: Severity
    weak: Callable[[Any, Any], bool]
    sentence: str
    hint: str
    for_all: bool = False


def _is(*values: object) -> Callable[[Any, KeywordFile], bool]:
    return lambda value, config: value in values


def _below(bound: int) -> Callable[[Any, KeywordFile], bool]:
    return lambda value, config: 0 < value < bound


def _holds(*members: str) -> Callable[[Any, KeywordFile], bool]:
    return lambda value, config: any(member in value for member in members)


def _passwords(config: Any) -> bool:
    """Whether some way of typing a password is open."""
    return bool(config.password_authentication or config.kbd_interactive_authentication)


_SHORT_RSA: Final = Weakness(
    "required_rsa_size", WARNING, _below(2048),
    "RSA keys of fewer than 2048 bits are taken",
    "RequiredRSASize 2048 or more",
)  # fmt: skip
_MD5: Final = Weakness(
    "fingerprint_hash", NOTE, _is("md5"),
    "of MD5 two keys can be made that have the same fingerprint",
    "leave FingerprintHash at sha256",
)  # fmt: skip

_IN_EVERYBODYS: Final = ("/tmp/", "/var/tmp/", "/dev/shm/")  # noqa: S108  (these are what is looked for)

# A row reads as a row: the formatter would give every word a line of its own.
# fmt: off
CLIENT_WEAKNESSES: Final = (
    Weakness(
        "strict_host_key_checking", WARNING, _is("no"),
        "any host key is taken, also one that has changed: whoever is in between is let in",
        "accept-new takes keys of new hosts and refuses changed ones",
    ),
    Weakness(
        "user_known_hosts_file", WARNING, _holds("/dev/null"),
        "no host key is remembered, so none can be recognized",
        "name a file, and StrictHostKeyChecking accept-new for machines that come and go",
    ),
    Weakness(
        "no_host_authentication_for_localhost", NOTE, _is(True),
        "whoever listens on a loopback port is taken for the host that it leads to",
        "give forwarded hosts a HostKeyAlias",
    ),
    Weakness(
        "forward_agent", WARNING, lambda value, config: value != "no",
        "root on every server can log in elsewhere with your keys as long as you are there",
        "put ForwardAgent into the Host block of a server that needs it, or use ProxyJump",
        for_all=True,
    ),
    Weakness(
        "forward_x11", WARNING, _is(True),
        "root on every server can reach your display",
        "put ForwardX11 into the Host block of a server that needs it",
        for_all=True,
    ),
    Weakness(
        "forward_x11_trusted", WARNING, _is(True),
        "programs there may read every key you press and every window",
        "ForwardX11Trusted no, for all but servers of your own",
    ),
    Weakness(
        "gateway_ports", WARNING, _is(True),
        "everybody who reaches this machine reaches what you forward",
        "give the one forwarding that others need a bind address",
    ),
    Weakness(
        "hostbased_authentication", NOTE, _is(True),
        "whoever is root on this machine can log in as you",
        "log in by key",
    ),
    Weakness(
        "send_env", WARNING, _holds("*"),
        "every variable is sent, also those that hold secrets",
        "name what the server needs, such as LANG LC_*",
    ),
    Weakness(
        "control_path", WARNING,
        lambda value, config: (value or "").startswith(_IN_EVERYBODYS),
        "others may make that name before you do",
        "keep the socket below ~/.ssh",
    ),
    Weakness(
        "warn_weak_crypto", NOTE, _is("no"),
        "nothing is said of key exchanges whose recordings a quantum computer could read",
        "leave it at yes, and name the host that needs it",
        for_all=True,
    ),
    Weakness(
        "log_level", NOTE, _is("QUIET"),
        "warnings about host keys are not shown either",
        "LogLevel ERROR",
    ),
    _SHORT_RSA,
    _MD5,
)

SERVER_WEAKNESSES: Final = (
    Weakness(
        "permit_root_login", WARNING, lambda value, config: value == "yes" and _passwords(config),
        "root may log in by password, which everybody who scans the network tries",
        "prohibit-password, or no",
    ),
    Weakness(
        "permit_root_login", NOTE, lambda value, config: value == "yes" and not _passwords(config),
        "root may log in, by key alone as long as passwords are off elsewhere",
        "prohibit-password says so here",
    ),
    Weakness(
        "permit_empty_passwords", WARNING, _is(True),
        "whoever knows the name of an account without a password is in",
        "PermitEmptyPasswords no",
    ),
    Weakness(
        "strict_modes", WARNING, _is(False),
        "keys count also where others could have put them",
        "StrictModes yes, and chmod go-w what it complains of",
    ),
    Weakness(
        "password_authentication", NOTE, _is(True),
        "passwords can be guessed and given away",
        "PasswordAuthentication no, once everybody has a key",
    ),
    Weakness(
        "password_authentication", WARNING,
        lambda value, config: (
            not value and config.kbd_interactive_authentication and config.use_pam
        ),
        "passwords are taken all the same: PAM asks for them by keyboard-interactive",
        "KbdInteractiveAuthentication no, too",
    ),
    Weakness(
        "hostbased_authentication", WARNING, _is(True),
        "root on every host that is trusted can log in as anybody",
        "let users log in by key",
    ),
    Weakness(
        "hostbased_uses_name_from_packet_only", WARNING, _is(True),
        "a host is believed to be whatever it says",
        "leave it at no",
    ),
    Weakness(
        "ignore_rhosts", WARNING, lambda value, config: value != "yes",
        "users decide which hosts are trusted, by ~/.rhosts or ~/.shosts",
        "IgnoreRhosts yes",
    ),
    Weakness(
        "login_grace_time", WARNING, _is(0),
        "connections that never log in stay for ever, until no more are taken",
        "a minute or two",
    ),
    Weakness(
        "login_grace_time", NOTE, lambda value, config: value > 600,
        "connections that never log in stay for more than ten minutes",
        "a minute or two",
    ),
    Weakness(
        "max_auth_tries", NOTE, lambda value, config: value > 10,
        "a guesser has many tries for one connection",
        "leave it at 6, and let clients with many keys say IdentitiesOnly yes",
    ),
    Weakness(
        "gateway_ports", WARNING, _is("yes"),
        "what users forward is open to everybody who reaches this machine",
        "no, or clientspecified",
    ),
    Weakness(
        "gateway_ports", NOTE, _is("clientspecified"),
        "users may open what they forward to everybody who reaches this machine",
        "PermitListen names what may be opened",
    ),
    Weakness(
        "permit_user_environment", WARNING, lambda value, config: value != "no",
        "users choose variables of what runs for them, and so get round a ForceCommand",
        "AcceptEnv or SetEnv",
    ),
    Weakness(
        "accept_env", WARNING, _holds("*", "LD_*", "LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV"),
        "a client chooses what programs load, and so gets round a ForceCommand",
        "name what is needed, such as LANG LC_*",
    ),
    Weakness(
        "x11_forwarding", NOTE, _is(True),
        "root here can reach the display of whoever forwards it",
        "X11Forwarding no, where nobody shows windows",
    ),
    Weakness(
        "x11_use_localhost", WARNING, _is(False),
        "forwarded displays listen on every address",
        "leave it at yes",
    ),
    Weakness(
        "permit_tunnel", NOTE, lambda value, config: value != "no",
        "users may join networks through this machine",
        "no, or in a Match block",
    ),
    Weakness(
        "client_alive_count_max", WARNING,
        lambda value, config: value == 0 and config.client_alive_interval > 0,
        "0 means that no connection is ever given up, however long it is silent",
        "1 or more",
    ),
    Weakness(
        "per_source_penalties", NOTE, _is(("no",)),
        "whoever guesses may come back at once",
        "leave it at its default",
    ),
    Weakness(
        "log_level", WARNING, _is("QUIET", "FATAL"),
        "logins leave no trace",
        "INFO, or VERBOSE for the fingerprints of keys",
    ),
    Weakness(
        "log_level", NOTE, _is("DEBUG1", "DEBUG2", "DEBUG3"),
        "the log holds what users would rather keep to themselves",
        "VERBOSE",
    ),
    Weakness(
        "host_key", WARNING, lambda value, config: any("dsa_key" in path and "ecdsa" not in path for path in value),
        "DSA keys are no longer used by anybody",
        "remove it",
    ),
    _SHORT_RSA,
    _MD5,
)

# Names of algorithms, in every list; the first row that fits says why.
_ALGORITHMS: Final = (
    ("*none*", WARNING, "protects nothing"),
    ("*group1-*", WARNING, "is over a group of 1024 bits, which states can break, by SHA-1"),
    ("*md5*", WARNING, "is by MD5, which is broken"),
    ("gss-*sha1-*", WARNING, "is by SHA-1, which is broken"),
    ("hmac-sha1*", WARNING, "is by SHA-1"),
    ("*-sha1", WARNING, "is by SHA-1, which is broken"),
    ("ssh-rsa", WARNING, "signs by SHA-1: a signature can be forged"),
    ("ssh-rsa-cert-*", WARNING, "signs by SHA-1: a signature can be forged"),
    ("ssh-dss*", WARNING, "is DSA: 1024 bits, by SHA-1"),
    ("3des-*", WARNING, "has blocks of 64 bits, which repeat after some gigabytes"),
    ("blowfish-*", WARNING, "has blocks of 64 bits, which repeat after some gigabytes"),
    ("cast128-*", WARNING, "has blocks of 64 bits, which repeat after some gigabytes"),
    ("arcfour*", WARNING, "is RC4, which is broken"),
    ("*-cbc*", WARNING, "is chained: an error tells who listens something of the text"),
    ("*-96*", NOTE, "is cut short to 96 bits"),
    ("umac-64*", NOTE, "is only 64 bits long"),
)
# fmt: on


def weak_values(
    statements: Sequence[Statement],
    rows: Sequence[Weakness],
    beside: Callable[[Statement], KeywordFile],
) -> Iterator[Finding]:
    """What is weak among values of which any may count; ``beside`` is what holds where a line does."""
    by_attribute: dict[str, list[Weakness]] = {}
    for row in rows:
        by_attribute.setdefault(row.attribute, []).append(row)
    for said in statements:
        for row in by_attribute.get(said.row.attribute, ()):
            if row.for_all and not for_everybody(said.blocks):
                continue
            if row.weak(said.value, beside(said)):
                yield Finding(
                    Kind.WEAK,
                    row.severity,
                    said.file,
                    said.line,
                    said.row.spelling,
                    f"{said.row.spelling} {said.words[:60]}: {row.sentence}",
                    row.hint,
                )


def weak_algorithms(statements: Sequence[Statement], *, lenient: bool) -> Iterator[Finding]:
    """Names in algorithm lists that are weak, and names that nobody knows (R114)."""
    for said in statements:
        try:
            names = named(said.row.attribute, said.value, lenient=lenient)
        except ConfigError as fault:
            yield Finding(
                Kind.MISTAKE,
                Severity.ERROR,
                said.file,
                said.line,
                said.row.spelling,
                f"{said.row.spelling}: {fault}",
                fault.hint,
            )
            continue
        by_reason: dict[tuple[str, Severity], list[str]] = {}
        for name in names:
            for pattern, severity, reason in _ALGORITHMS:
                if match_pattern(name, pattern):
                    by_reason.setdefault((reason, severity), []).append(name)
                    break
        for (reason, severity), weak in by_reason.items():
            yield Finding(
                Kind.WEAK,
                severity,
                said.file,
                said.line,
                said.row.spelling,
                f"{said.row.spelling}: {', '.join(weak)} {reason}",
                "take it out; for an old server, keep it in a Host block of that server's"
                if lenient
                else "take it out",
            )
