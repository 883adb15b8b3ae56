# SPDX-License-Identifier: MIT
"""From the values of ssh_config to the settings of a core and of a login."""

import os
from typing import Any, Final

from tellin.algorithms.signatures import (
    CA_SIGNATURE_ALGORITHMS,
    SHOWN_KEYS,
    USER_KEY_ALGORITHMS,
    with_certificates,
)
from tellin.client.authentication.login_plan import LoginPlan
from tellin.client.hosts.records import AUTHORITY
from tellin.client.offer import algorithms
from tellin.config.algorithm_lists import select_one
from tellin.config.ssh_config import SshConfig
from tellin.connection.forwarding import SERVERS_TYPES
from tellin.connection.host_keys import HOST_KEYS
from tellin.connection.machine import ConnectionSettings
from tellin.protocol.core import KeepAlive
from tellin.transport.negotiation import Preferences
from tellin.transport.settings import Settings
from tellin.transport.version import identification
from tellin.userauth.messages import KEYBOARD_INTERACTIVE, PASSWORD, PASSWORD_METHODS, PUBLIC_KEY

# What we tell the server that we know (RFC 8308). Not ext-info-in-auth@openssh.com: it would let
# EXT_INFO come in the middle of authentication, where we take it for an attack (R020).
EXTENSIONS: Final = {"ping@openssh.com": b"0"}

# What the core hands to a client's driver of what servers ask.
CLIENT_SETTINGS: Final = ConnectionSettings(
    channel_types=SERVERS_TYPES, global_requests=frozenset({HOST_KEYS})
)
# The same where its other host keys are nothing to us.
NOT_LEARNING: Final = ConnectionSettings(channel_types=SERVERS_TYPES)

_LEAST_RSA_SIZE: Final = 1024  # RequiredRSASize can only raise it

# What settings are made of, and those made lately.
_CHOICES: Final = (
    "kex_algorithms",
    "host_key_algorithms",
    "ciphers",
    "macs",
    "compression",
    "security_profile",
    "rekey_limit",
    "version_addendum",
)
_SETTINGS_KEPT: Final = 64
_settings: dict[tuple[Any, ...], Settings] = {}


def preferences(config: SshConfig, known: frozenset[str] = frozenset()) -> Preferences:
    """What to offer in KEXINIT; ``known`` is what is on record for the host (``known_types``)."""
    lists = algorithms(config)
    host_keys = lists.host_keys
    # A list that somebody wrote out stands as it is.
    if config.host_key_algorithms[:1] in {"", "+", "-"}:
        host_keys = _known_first(host_keys, known)
    return Preferences(
        lists.key_exchanges, host_keys, lists.ciphers, lists.macs, lists.compressions
    )


def _known_first(host_keys: tuple[str, ...], known: frozenset[str]) -> tuple[str, ...]:
    """Keys of a type that is on record before others: those would have to be asked about.

    Certificates come before all keys where an authority is on record, and behind them where none
    is: there one is worth as much as the key in it, and asking for it would spoil our guess.
    """
    vouched = AUTHORITY in known
    keys = [name for name in host_keys if not SHOWN_KEYS[name].certificate]
    # R048, CVE-2020-14145: who knows no key of the host, and who knows the one that comes first
    # anyway, offer the same. So most who listen cannot tell a first visit, which is worth an attack.
    if keys and SHOWN_KEYS[keys[0]].key_type not in known:
        keys.sort(key=lambda name: SHOWN_KEYS[name].key_type not in known)
    certificates = [name for name in host_keys if SHOWN_KEYS[name].certificate]
    return (*certificates, *keys) if vouched else (*keys, *certificates)


def settings(
    config: SshConfig,
    *,
    exchange_timeout: float | None = None,
    known: frozenset[str] = frozenset(),
) -> Settings:
    """The transport's settings.

    ``exchange_timeout`` is what ConnectTimeout has left; ``known`` as for ``preferences``.
    """
    rekey_bytes, rekey_seconds = config.rekey_limit
    made = Settings(
        preferences(config, known),
        os.urandom,
        identification=identification(config.version_addendum or ""),
        rekey_bytes=rekey_bytes,
        rekey_seconds=float(rekey_seconds),
        extensions=EXTENSIONS,
    )
    if exchange_timeout is not None:
        made.exchange_timeout = exchange_timeout
    return made


def kept_settings(config: SshConfig, known: frozenset[str], *, guess: bool) -> Settings:
    """The transport's settings; to choose algorithms takes longer than all else that is read."""
    key = (guess, known, *(getattr(config, name) for name in _CHOICES))
    made = _settings.get(key)
    if made is None:
        if len(_settings) >= _SETTINGS_KEPT:
            _settings.clear()
        made = _settings[key] = settings(config, known=known)
        made.guess = guess
    return made


def keepalive(config: SshConfig) -> KeepAlive:
    """The signs of life to ask for."""
    return KeepAlive(
        interval=float(config.server_alive_interval), count=config.server_alive_count_max
    )


def authority_algorithms(config: SshConfig) -> tuple[str, ...]:
    """What authorities may sign host certificates by."""
    return select_one(config, "ca_signature_algorithms", CA_SIGNATURE_ALGORITHMS, lenient=True)


def required_rsa_size(config: SshConfig) -> int:
    """The fewest bits of an RSA key, ours or the server's."""
    return max(_LEAST_RSA_SIZE, config.required_rsa_size)


def login_plan(config: SshConfig, *, host: str) -> LoginPlan:
    """Who logs in and by what; ``host`` is how messages name the server."""
    enabled = {
        PUBLIC_KEY: config.pubkey_authentication != "no",
        KEYBOARD_INTERACTIVE: config.kbd_interactive_authentication,
        PASSWORD: config.password_authentication,
    }
    return LoginPlan(
        user=config.user or "",
        host=host,
        order=tuple(
            name
            for name in dict.fromkeys(config.preferred_authentications)
            if enabled.get(name) and not (config.batch_mode and name in PASSWORD_METHODS)
        ),
        key_algorithms=select_one(
            config,
            "pubkey_accepted_algorithms",
            with_certificates(USER_KEY_ALGORITHMS),
            lenient=True,
        ),
        required_rsa_size=required_rsa_size(config),
        # OpenSSH's clients take host-bound for yes: a server that does not know the form gets the other.
        bound=config.pubkey_authentication != "unbound",
        devices=config.kbd_interactive_devices,
        prompts=config.number_of_password_prompts,
    )
