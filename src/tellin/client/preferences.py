# SPDX-License-Identifier: MIT
"""From the values of ssh_config to the settings of a core and of a login."""

import os
from typing import Final

from tellin.algorithms.signatures import USER_KEY_ALGORITHMS
from tellin.client.login_plan import LoginPlan
from tellin.client.offer import algorithms
from tellin.config.algorithm_lists import select_one
from tellin.config.ssh_config import SshConfig
from tellin.errors import ConfigError
from tellin.protocol.core import KeepAlive
from tellin.transport.negotiation import Preferences
from tellin.transport.settings import IDENTIFICATION, Settings
from tellin.userauth.messages import KEYBOARD_INTERACTIVE, PASSWORD, PASSWORD_METHODS, PUBLIC_KEY

# What we tell the server that we know (RFC 8308). Not ext-info-in-auth@openssh.com: it would let
# EXT_INFO come in the middle of authentication, where we take it for an attack (R020).
EXTENSIONS: Final = {"ping@openssh.com": b"0"}

_LEAST_RSA_SIZE: Final = 1024  # RequiredRSASize can only raise it
_LONGEST_IDENTIFICATION: Final = 253


def preferences(config: SshConfig) -> Preferences:
    """What to offer in KEXINIT."""
    lists = algorithms(config)
    return Preferences(
        lists.key_exchanges, lists.host_keys, lists.ciphers, lists.macs, lists.compressions
    )


def settings(config: SshConfig, *, exchange_timeout: float | None = None) -> Settings:
    """The transport's settings; ``exchange_timeout`` is what ConnectTimeout has left."""
    rekey_bytes, rekey_seconds = config.rekey_limit
    made = Settings(
        preferences(config),
        os.urandom,
        identification=_identification(config),
        rekey_bytes=rekey_bytes,
        rekey_seconds=float(rekey_seconds),
        extensions=EXTENSIONS,
    )
    if exchange_timeout is not None:
        made.exchange_timeout = exchange_timeout
    return made


def _identification(config: SshConfig) -> str:
    if not config.version_addendum:
        return IDENTIFICATION
    made = f"{IDENTIFICATION} {config.version_addendum}"
    if not (made.isascii() and made.isprintable()) or len(made) > _LONGEST_IDENTIFICATION:
        raise ConfigError("VersionAddendum: it must be printable ASCII, and not long")
    return made


def keepalive(config: SshConfig) -> KeepAlive:
    """The signs of life to ask for."""
    return KeepAlive(
        interval=float(config.server_alive_interval), count=config.server_alive_count_max
    )


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
            config, "pubkey_accepted_algorithms", USER_KEY_ALGORITHMS, lenient=True
        ),
        required_rsa_size=required_rsa_size(config),
        # OpenSSH's clients take host-bound for yes: a server that does not know the form gets the other.
        bound=config.pubkey_authentication != "unbound",
        prompts=config.number_of_password_prompts,
    )
