# SPDX-License-Identifier: MIT
"""From the algorithm lists of a configuration to names that can be offered (R114).

This module alone of the room imports the algorithms, which take longer to load than all the rest
of it: whoever only reads a file does without.
"""

from typing import Any, Final, TypeVar

from tellin.algorithms.ciphers import CIPHERS
from tellin.algorithms.compression import COMPRESSING, DEFAULT_COMPRESSIONS
from tellin.algorithms.key_exchange import (
    CLIENT_KEY_EXCHANGES,
    KEY_EXCHANGES,
    SERVER_KEY_EXCHANGES,
    STRICT_KEY_EXCHANGES,
)
from tellin.algorithms.macs import CLIENT_MACS, MACS, SERVER_MACS
from tellin.algorithms.registry import Registry
from tellin.algorithms.signatures import (
    HOST_KEY_ALGORITHMS,
    SERVER_HOST_KEY_ALGORITHMS,
    SIGNATURES,
    USER_KEY_ALGORITHMS,
)
from tellin.config.keywords import KeywordFile
from tellin.config.patterns import match_pattern
from tellin.config.ssh_config import SshConfig
from tellin.config.sshd_config import SshdConfig
from tellin.errors import ConfigError
from tellin.wire import Record

# Names that OpenSSH knows or knew and that may stand in a user's file for other programs' sake: a
# client passes over those that are not in its tables, or a login would fail over a name that
# nobody needs. A server refuses them.
_ELSEWHERE: Final = (
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
    "ssh-dss",
    "ssh-mldsa44-ed25519@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
    "*-cert-v0?@openssh.com",
    "gss-*",
)


C = TypeVar("C", SshConfig, SshdConfig)


class AlgorithmLists(Record):
    """What to offer, best first; the names are those of `tellin.transport.negotiation.Preferences`."""

    key_exchanges: tuple[str, ...]
    host_keys: tuple[str, ...]
    ciphers: tuple[str, ...]
    macs: tuple[str, ...]
    compressions: tuple[str, ...]
    user_keys: tuple[str, ...]
    """The signature algorithms of users' keys."""


def client_algorithms(config: SshConfig) -> AlgorithmLists:
    """What a client offers; raises ConfigError, with file and line, for an unknown name."""
    return AlgorithmLists(
        _key_exchanges(config, CLIENT_KEY_EXCHANGES),
        _selected(config, "host_key_algorithms", SIGNATURES, HOST_KEY_ALGORITHMS),
        _selected(config, "ciphers", CIPHERS, CIPHERS.defaults()),
        _selected(config, "macs", MACS, CLIENT_MACS),
        COMPRESSING if config.compression else DEFAULT_COMPRESSIONS,
        _selected(config, "pubkey_accepted_algorithms", SIGNATURES, USER_KEY_ALGORITHMS),
    )


def server_algorithms(config: SshdConfig) -> AlgorithmLists:
    """What a server offers; raises ConfigError, with file and line, for an unknown name."""
    return AlgorithmLists(
        _key_exchanges(config, SERVER_KEY_EXCHANGES),
        _selected(config, "host_key_algorithms", SIGNATURES, SERVER_HOST_KEY_ALGORITHMS),
        _selected(config, "ciphers", CIPHERS, CIPHERS.defaults(server=True)),
        _selected(config, "macs", MACS, SERVER_MACS),
        ("none",) if config.compression == "no" else DEFAULT_COMPRESSIONS,
        _selected(config, "pubkey_accepted_algorithms", SIGNATURES, USER_KEY_ALGORITHMS),
    )


def with_lists(config: C, lists: AlgorithmLists) -> C:
    """The same values with every list written out, as ``-G`` and ``-T`` show them."""
    return config.replaced(
        kex_algorithms=",".join(lists.key_exchanges),
        host_key_algorithms=",".join(lists.host_keys),
        ciphers=",".join(lists.ciphers),
        macs=",".join(lists.macs),
        pubkey_accepted_algorithms=",".join(lists.user_keys),
    )


def _key_exchanges(config: SshConfig | SshdConfig, defaults: tuple[str, ...]) -> tuple[str, ...]:
    strict = config.security_profile == "strict"
    chosen = _selected(
        config, "kex_algorithms", KEY_EXCHANGES, STRICT_KEY_EXCHANGES if strict else defaults
    )
    if not strict:
        return chosen
    kept = tuple(name for name in chosen if KEY_EXCHANGES[name].post_quantum)
    if not kept:
        raise _located(
            config, "kex_algorithms", ConfigError("SecurityProfile strict leaves none of them")
        )
    return kept


def _selected(
    config: KeywordFile, attribute: str, registry: Registry[Any], defaults: tuple[str, ...]
) -> tuple[str, ...]:
    spec: str = getattr(config, attribute)
    try:
        if isinstance(config, SshConfig):
            spec = _without_elsewhere(spec, registry)
        return registry.select(spec, defaults) if spec else defaults
    except ConfigError as fault:
        raise _located(config, attribute, fault) from None


def _without_elsewhere(spec: str, registry: Registry[Any]) -> str:
    """``spec`` without the names that only other programs have; empty if it then changes nothing."""
    sign, listed = (spec[0], spec[1:]) if spec[:1] in {"+", "-", "^"} else ("", spec)
    names = listed.split(",")
    kept = [name for name in names if name in registry or not _is_elsewhere(name)]
    if spec and not kept and not sign:
        raise ConfigError(f"none of {spec[:200]!a} is supported")
    return sign + ",".join(kept) if kept else ""


def _is_elsewhere(name: str) -> bool:
    return any(match_pattern(name, pattern) for pattern in _ELSEWHERE)


def _located(config: KeywordFile, attribute: str, fault: ConfigError) -> ConfigError:
    spelling = config.rows[attribute].spelling
    file, line = config.origin(attribute)
    return ConfigError(
        f"{spelling}: {fault}", file=file, line=line, keyword=spelling, hint=fault.hint
    )
