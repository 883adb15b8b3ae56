# SPDX-License-Identifier: MIT
"""From the values of sshd_config to the settings of a core, of a login and of a session."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from tellin.algorithms.ciphers import CIPHERS, preferred_ciphers
from tellin.algorithms.compression import DEFAULT_COMPRESSIONS
from tellin.algorithms.key_exchange import SERVER_KEY_EXCHANGES, Moduli
from tellin.algorithms.macs import SERVER_MACS
from tellin.algorithms.signatures import (
    CA_SIGNATURE_ALGORITHMS,
    SERVER_HOST_KEY_ALGORITHMS,
    USER_KEY_ALGORITHMS,
    plain,
    with_certificates,
)
from tellin.config.algorithm_lists import AlgorithmLists, select, select_one
from tellin.config.patterns import match_pattern
from tellin.config.reading import NamedAlgorithms
from tellin.config.sshd_config import SshdConfig
from tellin.config.sshd_reading import SshdSettings
from tellin.connection.forwarding import DEVICE, DIRECT_PORT, DIRECT_SOCKET, LISTENING
from tellin.connection.host_keys import HOST_KEYS_PROVE
from tellin.connection.idleness import idle_rules
from tellin.connection.machine import ConnectionSettings
from tellin.errors import ConfigError
from tellin.keys.certificates import Certificate
from tellin.keys.private import PrivateKey
from tellin.protocol import KeepAlive, Preferences, ServerProtocol, Settings
from tellin.protocol.server import SESSION
from tellin.runtime.machine import has_aes
from tellin.server.authentication.access import AccessRules, Helper, RootLogin
from tellin.transport.version import identification
from tellin.userauth.messages import KEYBOARD_INTERACTIVE, PASSWORD, PUBLIC_KEY
from tellin.userauth.policy import Policy, Progress, parse_chains
from tellin.userauth.questions import Shown

# Variables that change what a shell or an interpreter runs before the user's own words: a pattern
# never lets them through, only their full name does (R150).
_DANGEROUS: Final = (
    "LD_*",
    "DYLD_*",
    "PATH",
    "PYTHON*",
    "PERL*",
    "RUBY*",
    "NODE_*",
    "JAVA_*",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    # All but GIT_PROTOCOL, which clients send.
    "GIT_ASKPASS",
    "GIT_CONFIG*",
    "GIT_E*",
    "GIT_PAGER",
    "GIT_PROXY_COMMAND",
    "GIT_S*",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "BASH_ENV",
    "BASHOPTS",
    "ENV",
    "IFS",
    # With xtrace a shell runs what stands in PS4 before each command, forced ones too.
    "PROMPT_COMMAND",
    "PS4",
    "SHELL",
    "SHELLOPTS",
)


_LEAST_RSA_SIZE: Final = 1024


def algorithms(config: SshdConfig) -> AlgorithmLists:
    """What is in force on this machine; raises ConfigError, with file and line, for an unknown name."""
    known = CIPHERS.defaults(server=True)
    keys = with_certificates(USER_KEY_ALGORITHMS)
    return select(
        config,
        AlgorithmLists(
            SERVER_KEY_EXCHANGES,
            with_certificates(SERVER_HOST_KEY_ALGORITHMS),
            tuple(name for name in preferred_ciphers(has_aes=has_aes()) if name in known),
            SERVER_MACS,
            ("none",) if config.compression == "no" else DEFAULT_COMPRESSIONS,
            keys,
            CA_SIGNATURE_ALGORITHMS,
            keys,
        ),
        lenient=False,
    )


def check_algorithms(lines: Iterable[NamedAlgorithms]) -> None:
    """Refuse a list, in whatever Match block, that names what nobody knows or that leaves nothing (R114, R115)."""
    # Ten thousand blocks may say the same; of these the first is named.
    for said in {(one.attribute, one.spec): one for one in reversed([*lines])}.values():
        place = (said.file, said.line)
        algorithms(SshdConfig.made_of({said.attribute: said.spec}, {said.attribute: place}))


def signing_keys(
    host_keys: Sequence[PrivateKey], certificates: Sequence[Certificate] = ()
) -> dict[bytes, PrivateKey]:
    """By what is shown of it, the key that signs: its own blob, or a certificate's for it."""
    found = {key.public.blob: key for key in host_keys}
    return found | {one.blob: found[one.key.blob] for one in certificates}


def core_settings(
    config: SshdConfig,
    host_keys: Sequence[PrivateKey],
    moduli: Moduli | None,
    certificates: Sequence[Certificate] = (),
) -> Settings:
    """What every connection is told before it begins; raises ConfigError where nothing is left.

    ``certificates`` are for keys among ``host_keys``.
    """
    lists = algorithms(config)
    # Which of the algorithms there is a key or a certificate for, in the order of the list.
    shown: list[Shown] = [*(key.public for key in host_keys), *certificates]
    pairs = tuple(
        (name, one.blob)
        for name in lists.host_keys
        for one in shown
        if name in one.signature_algorithms or name == one.key_type
    )
    if not pairs:
        raise ConfigError("no hostkeys available -- exiting.")
    extensions = {
        # Names of signatures: what a certificate's key signs by is what it signs by alone.
        "server-sig-algs": ",".join(dict.fromkeys(map(plain, lists.user_keys))).encode(),
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
    return ConnectionSettings(
        channel_types=frozenset({SESSION, DIRECT_PORT, DIRECT_SOCKET, DEVICE}),
        global_requests=LISTENING | {HOST_KEYS_PROVE},
    )


def plain_host_keys(core: Settings) -> tuple[bytes, ...]:
    """The keys that the server shows without a certificate: those that a client can keep on record."""
    return tuple(blob for name, blob in core.host_keys if plain(name) == name)


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
    if config.channel_timeout or config.unused_connection_timeout:
        rules = idle_rules(config.channel_timeout, unused=config.unused_connection_timeout)
        core.watch_idleness(rules, fits=match_pattern)


def required_rsa_size(config: SshdConfig) -> int:
    """The fewest bits of an RSA key, whatever less the configuration would take."""
    return max(_LEAST_RSA_SIZE, config.required_rsa_size)


def policy(config: SshdConfig, *, banner: str = "") -> Policy:
    """What must be shown to log in."""
    switches = {
        PUBLIC_KEY: config.pubkey_authentication,
        PASSWORD: config.password_authentication,
        KEYBOARD_INTERACTIVE: config.kbd_interactive_authentication,
    }
    default = with_certificates(USER_KEY_ALGORITHMS)
    return Policy(
        select_one(config, "pubkey_accepted_algorithms", default, lenient=False),
        methods=tuple(name for name, on in switches.items() if on),
        chains=parse_chains(config.authentication_methods),
        devices=("password",),
        maximum_tries=config.max_auth_tries,
        required_rsa_size=required_rsa_size(config),
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
        authorities_file=config.trusted_user_ca_keys,
        authority_algorithms=select_one(
            config, "ca_signature_algorithms", CA_SIGNATURE_ALGORITHMS, lenient=False
        ),
        principals_file=config.authorized_principals_file,
        revoked_files=config.revoked_keys,
        chrooted=config.chroot_directory is not None,
        keys_command=_helper(config, "authorized_keys_command"),
        principals_command=_helper(config, "authorized_principals_command"),
    )


def _helper(config: SshdConfig, attribute: str) -> Helper | None:
    line: str | None = getattr(config, attribute)
    if line is None:
        return None
    row = config.rows[attribute]
    user: str | None = getattr(config, f"{attribute}_user")
    return Helper(row.spelling, line, user or "", row.tokens.removeprefix("%"))


def check(configuration: SshdSettings) -> None:
    """Raise ConfigError for what no login could make sense of, whomever it is from (R114, R115)."""
    check_algorithms(configuration.algorithms_named)
    _check_helpers(configuration.always)
    _check_methods(configuration.always)


def _check_methods(config: SshdConfig) -> None:
    """A Match block may lock its users out, but what holds for everybody must let somebody in."""
    wanted = policy(config)
    if wanted.chains and not Progress(wanted, wanted.methods).methods():
        file, line = config.origin("authentication_methods")
        raise ConfigError(
            "AuthenticationMethods cannot be satisfied by enabled authentication methods",
            file=file,
            line=line,
            keyword="AuthenticationMethods",
        )


def _check_helpers(config: SshdConfig) -> None:
    """A command of nobody's: whose rights would it have?"""
    rules = access_rules(config)
    for helper in (rules.keys_command, rules.principals_command):
        if helper is not None and not helper.user:
            raise ConfigError(f"{helper.keyword} set without {helper.keyword}User")


def accepts_variable(config: SshdConfig) -> Callable[[str], bool]:
    """Which of a client's variables a session takes."""
    patterns = config.accept_env

    def accepts(name: str) -> bool:
        if any(match_pattern(name, dangerous) for dangerous in _DANGEROUS):
            return name in patterns
        return any(match_pattern(name, pattern) for pattern in patterns)

    return accepts
