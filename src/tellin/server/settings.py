# SPDX-License-Identifier: MIT
"""From the values of sshd_config to the settings of a core, of a login and of a session."""

import os
from collections.abc import Callable, Sequence
from typing import Final

from tellin.algorithms.ciphers import CIPHERS, preferred_ciphers
from tellin.algorithms.compression import DEFAULT_COMPRESSIONS
from tellin.algorithms.key_exchange import SERVER_KEY_EXCHANGES, Moduli
from tellin.algorithms.macs import SERVER_MACS
from tellin.algorithms.signatures import (
    SERVER_HOST_KEY_ALGORITHMS,
    SIGNATURES,
    USER_KEY_ALGORITHMS,
)
from tellin.config.algorithm_lists import AlgorithmLists, select
from tellin.config.patterns import match_pattern
from tellin.config.sshd_config import SshdConfig
from tellin.connection.machine import ConnectionSettings
from tellin.errors import ConfigError
from tellin.keys.private import PrivateKey
from tellin.protocol import KeepAlive, Preferences, ServerProtocol, Settings
from tellin.protocol.server import SESSION
from tellin.runtime.machine import has_aes
from tellin.server.access import AccessRules, RootLogin
from tellin.transport.version import identification
from tellin.userauth.messages import KEYBOARD_INTERACTIVE, PASSWORD, PUBLIC_KEY
from tellin.userauth.policy import Policy, parse_chains

# Variables that change what a shell or an interpreter runs before the user's own words: a pattern
# never lets them through, only their full name does (R150).
_DANGEROUS: Final = (
    "LD_*",
    "DYLD_*",
    "PATH",
    "PYTHON*",
    "PERL*",
    "BASH_ENV",
    "ENV",
    "IFS",
    "SHELL",
)


def algorithms(config: SshdConfig) -> AlgorithmLists:
    """What is in force on this machine; raises ConfigError, with file and line, for an unknown name."""
    known = CIPHERS.defaults(server=True)
    return select(
        config,
        AlgorithmLists(
            SERVER_KEY_EXCHANGES,
            SERVER_HOST_KEY_ALGORITHMS,
            tuple(name for name in preferred_ciphers(has_aes=has_aes()) if name in known),
            SERVER_MACS,
            ("none",) if config.compression == "no" else DEFAULT_COMPRESSIONS,
            USER_KEY_ALGORITHMS,
        ),
        lenient=False,
    )


def core_settings(
    config: SshdConfig, host_keys: Sequence[PrivateKey], moduli: Moduli | None
) -> Settings:
    """What every connection is told before it begins; raises ConfigError where nothing is left."""
    lists = algorithms(config)
    # Which of the algorithms there is a key for, in the order of the list.
    pairs = tuple(
        (name, key.public.blob)
        for name in lists.host_keys
        for key in host_keys
        if key.public.key_type == SIGNATURES[name].key_type
    )
    if not pairs:
        raise ConfigError("no hostkeys available -- exiting.")
    extensions = {
        "server-sig-algs": ",".join(lists.user_keys).encode(),
        "publickey-hostbound@openssh.com": b"0",
        "ping@openssh.com": b"0",
    }
    rekey_bytes, rekey_seconds = config.rekey_limit
    unique = dict(reversed(pairs))
    return Settings(
        Preferences(
            lists.key_exchanges,
            tuple(dict.fromkeys(name for name, _ in pairs)),
            lists.ciphers,
            lists.macs,
            lists.compressions,
        ),
        os.urandom,
        identification=identification(config.version_addendum or ""),
        rekey_bytes=rekey_bytes,
        rekey_seconds=float(rekey_seconds),
        host_keys=tuple(unique.items()),
        moduli=moduli,
        extensions=extensions,
    )


def connection_settings(_config: SshdConfig) -> ConnectionSettings:
    """What the peer may open."""
    return ConnectionSettings(channel_types=frozenset({SESSION}))


def keepalive(config: SshdConfig) -> KeepAlive:
    """The signs of life to ask for; a count of 0 never ends a connection."""
    return KeepAlive(float(config.client_alive_interval), config.client_alive_count_max or 2**31)


def put_in_force(core: ServerProtocol, config: SshdConfig, always: SshdConfig) -> None:
    """What a Match block may say for one user about a connection that runs already (R113)."""
    if config.rekey_limit != always.rekey_limit:
        size, seconds = config.rekey_limit
        core.set_rekey_limit(size, float(seconds))
    if keepalive(config) != keepalive(always):
        core.set_keepalive(keepalive(config))


def policy(config: SshdConfig, *, banner: str = "") -> Policy:
    """What must be shown to log in."""
    switches = {
        PUBLIC_KEY: config.pubkey_authentication,
        PASSWORD: config.password_authentication,
        KEYBOARD_INTERACTIVE: config.kbd_interactive_authentication,
    }
    spec = config.pubkey_accepted_algorithms
    return Policy(
        SIGNATURES.select(spec, USER_KEY_ALGORITHMS) if spec else USER_KEY_ALGORITHMS,
        methods=tuple(name for name, on in switches.items() if on),
        chains=parse_chains(config.authentication_methods),
        devices=("password",),
        maximum_tries=config.max_auth_tries,
        permit_empty_passwords=config.permit_empty_passwords,
        banner=banner,
    )


def access_rules(config: SshdConfig) -> AccessRules:
    """Which accounts there are for a login, and which files let keys in."""
    return AccessRules(
        authorized_keys_files=config.authorized_keys_file,
        strict_modes=config.strict_modes,
        permit_root_login=RootLogin(config.permit_root_login),
        allow_users=config.allow_users,
        deny_users=config.deny_users,
        allow_groups=config.allow_groups,
        deny_groups=config.deny_groups,
    )


def accepts_variable(config: SshdConfig) -> Callable[[str], bool]:
    """Which of a client's variables a session takes."""
    patterns = config.accept_env

    def accepts(name: str) -> bool:
        if any(match_pattern(name, dangerous) for dangerous in _DANGEROUS):
            return name in patterns
        return any(match_pattern(name, pattern) for pattern in patterns)

    return accepts
