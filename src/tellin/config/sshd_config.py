# SPDX-License-Identifier: MIT
"""sshd_config(5): what a server does; the table of its keywords.

`tellin.config.sshd_reading.read_sshd_config` makes one from a file and options.
"""

import re
from typing import Final

from tellin.config import kinds
from tellin.config.grammar import quoted
from tellin.config.keywords import KeywordFile, Pending, Tier, append, keyword, pending
from tellin.config.kinds import Kind
from tellin.errors import ConfigError
from tellin.wire import Record

# Keywords whose features are still to come, with the values that say what happens anyway; any
# other value is refused, because a server must not promise what it does not do.
LATER: Final[dict[str, Pending]] = pending("""
    AllowAgentForwarding no
    AllowStreamLocalForwarding no
    AllowTcpForwarding no
    ChannelTimeout none
    ChrootDirectory none
    DisableForwarding yes no
    ExposeAuthInfo no
    FingerprintHash sha256
    GatewayPorts no
    GSSAPIAuthentication no
    GSSAPICleanupCredentials *
    GSSAPIDelegateCredentials *
    GSSAPIStrictAcceptorCheck *
    HostbasedAcceptedAlgorithms *
    HostbasedAuthentication no
    HostbasedUsesNameFromPacketOnly *
    HostKeyAgent none
    IgnoreRhosts *
    IgnoreUserKnownHosts *
    IPQoS none
    KerberosAuthentication no
    KerberosGetAFSToken *
    KerberosOrLocalPasswd *
    KerberosTicketCleanup *
    LogVerbose none
    PAMServiceName *
    PermitListen none
    PermitOpen none
    PermitTunnel no
    PermitUserEnvironment no
    PermitUserRC no
    PerSourceMaxStartups none
    PerSourceNetBlockSize *
    PerSourcePenalties no
    PerSourcePenaltyExemptList *
    PubkeyAuthOptions none
    RDomain none
    RefuseConnection no
    RequiredRSASize 1024
    SecurityKeyProvider *
    SshdAuthPath *
    SshdSessionPath *
    StreamLocalBindMask *
    StreamLocalBindUnlink *
    SyslogFacility auth
    UnusedConnectionTimeout none
    UsePAM no
    X11DisplayOffset *
    X11Forwarding no
    X11UseLocalhost *
    XAuthLocation *
""")

_ALIASES: Final = {
    "HostDSAKey": "HostKey",
    "HostBasedAcceptedKeyTypes": "HostbasedAcceptedAlgorithms",
    "PubkeyAcceptedKeyTypes": "PubkeyAcceptedAlgorithms",
    "DSAAuthentication": "PubkeyAuthentication",
    "ChallengeResponseAuthentication": "KbdInteractiveAuthentication",
    "SKeyAuthentication": "KbdInteractiveAuthentication",
    "KeepAlive": "TCPKeepAlive",
}

METHODS: Final = ("publickey", "password", "keyboard-interactive")


class ListenAddress(Record):
    """An address to listen on; without a port, on every Port."""

    host: str
    port: int | None = None


def _listen_address(words: list[str]) -> tuple[ListenAddress, ...]:
    if len(words) != 1:
        raise ConfigError("extra words at the end of the line", hint="rdomain is not supported")
    word = words[0]
    found = re.fullmatch(r"\[([^]]+)\](?::([0-9]{1,5}))?|([^:]+)(?::([0-9]{1,5}))?", word)
    if found is None:
        # An IPv6 address without brackets, which can have no port.
        if word.count(":") < 2 or not re.fullmatch(r"[0-9A-Fa-f:.]+(%[^][ ]+)?", word):
            raise ConfigError(f"{word[:80]!a} is not host, host:port or [host]:port")
        return (ListenAddress(word),)
    host, port = found[1] or found[3], found[2] or found[4]
    return (ListenAddress(host, kinds.read_integer(port, 0, 65535) if port else None),)


def _show_listen(value: tuple[ListenAddress, ...]) -> tuple[str, ...]:
    return tuple(
        quoted(f"[{one.host}]" + ("" if one.port is None else f":{one.port}")) for one in value
    )


_STARTUP_RATE: Final = 30


def _max_startups(word: str) -> tuple[int, int, int]:
    parts = [kinds.read_integer(part, 1, 2**31 - 1) for part in word.split(":")]
    if len(parts) == 1:
        return parts[0], _STARTUP_RATE, parts[0]
    if len(parts) != 3 or parts[1] > 100 or parts[0] > parts[2]:
        raise ConfigError(f"{word[:40]!a} is not start:rate:full")
    return parts[0], parts[1], parts[2]


def _subsystem(words: list[str]) -> tuple[tuple[str, str], ...]:
    text = words[0]
    # The command goes to a shell with its quotes; only a comment outside quotes is cut off.
    if '"' not in text and "'" not in text:
        text = re.split(r"[ \t]#", text, maxsplit=1)[0].rstrip(" \t")
    found = re.fullmatch(r"([^ \t\"'#]+)[ \t]+(.+)", text, re.DOTALL)
    if found is None:
        raise ConfigError("a name and a command are needed")
    return ((found[1], found[2]),)


def _add_subsystem(
    earlier: tuple[tuple[str, str], ...], later: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """Of two commands for one name the first stands, as of two values of one keyword."""
    names = {name for name, _ in earlier}
    return earlier + tuple(pair for pair in later if pair[0] not in names)


def _method_lists(words: list[str]) -> tuple[str, ...]:
    if words == ["any"]:
        return ("any",)
    for word in words:
        names = word.split(",")
        for name in names:
            if name.partition(":")[0] not in METHODS:
                raise ConfigError(
                    f"{name[:40]!a} is not a method of authentication",
                    hint=f"known: any, {', '.join(METHODS)}",
                )
        # One answer to the same question twice proves nothing more; two keys do.
        once = [name for name in names if name != "publickey"]
        if len(set(once)) != len(once):
            raise ConfigError(f"{word[:80]!a} names a method twice")
    return tuple(words)


_LISTEN: Final[Kind[tuple[ListenAddress, ...]]] = Kind(
    _listen_address, _show_listen, "host|host:port|[host]:port"
)
_STARTUPS: Final[Kind[tuple[int, int, int]]] = kinds.one(
    _max_startups, lambda value: ":".join(map(str, value)), "start[:rate:full]"
)
_SUBSYSTEM: Final[Kind[tuple[tuple[str, str], ...]]] = Kind(
    _subsystem, lambda value: tuple(" ".join(pair) for pair in value), "name command", raw=True
)
_METHODS: Final[Kind[tuple[str, ...]]] = Kind(
    _method_lists, lambda value: (" ".join(value),), "any|method,... ..."
)
# A server may leave the choice of a port to the system, by 0; a client has to name one.
_PORT: Final = kinds.integer(0, 65535)
_PORTS: Final[Kind[tuple[int, ...]]] = Kind(
    lambda words: (_PORT.read(words),), lambda value: tuple(map(str, value)), _PORT.grammar
)


class SshdConfig(
    KeywordFile,
    later=LATER,
    aliases=_ALIASES,
    retired="ServerKeyBits KeyRegenerationInterval RHostsAuthentication RhostsRSAAuthentication"
    " RSAAuthentication CheckMail UseLogin VerifyReverseMapping ReverseMappingCheck"
    " AuthorizedKeysFile2 UsePrivilegeSeparation KerberosTgtPassing AFSTokenPassing",
    silent="Protocol",
):
    """What a server does, for everybody or for one connection."""

    # A row reads as a row: the formatter would give every word a line of its own.
    # fmt: off

    port: tuple[int, ...] = keyword(
        "Port", _PORTS, default=(22,), merge=append, tier=Tier.EVERYDAY,
        doc="A port to listen on.",
    )
    listen_address: tuple[ListenAddress, ...] = keyword(
        "ListenAddress", _LISTEN, default=(), merge=append, tier=Tier.EVERYDAY,
        doc="An address to listen on; all of them if none is given.",
    )
    address_family: str = keyword(
        "AddressFamily", kinds.choice("any", "inet", "inet6"), default="any",
        doc="Which kinds of address to listen on.",
    )
    host_key: tuple[str, ...] = keyword(
        "HostKey", kinds.PATH_EACH, merge=append, tier=Tier.EVERYDAY,
        default=tuple(f"/etc/ssh/ssh_host_{kind}_key" for kind in ("rsa", "ecdsa", "ed25519")),
        doc="A private host key, readable by nobody else.",
    )
    pid_file: str | None = keyword(
        "PidFile", kinds.or_none(kinds.PATH), default="/var/run/sshd.pid",
        doc="Where the daemon's process number stands while it listens.",
    )
    login_grace_time: int = keyword(
        "LoginGraceTime", kinds.SECONDS, default=120, tier=Tier.EVERYDAY,
        doc="How long a login may take; 0 is for ever.",
    )
    max_startups: tuple[int, int, int] = keyword(
        "MaxStartups", _STARTUPS, default=(10, _STARTUP_RATE, 100), tier=Tier.EVERYDAY,
        doc="From how many logins under way to refuse some, with what chance in a hundred, and all.",
    )
    max_auth_tries: int = keyword(
        "MaxAuthTries", kinds.integer(1, 2**31 - 1), default=6, in_match=True,
        tier=Tier.EVERYDAY,
        doc="How many failed attempts end a connection.",
    )
    max_sessions: int = keyword(
        "MaxSessions", kinds.integer(0, 2**31 - 1), default=10, in_match=True,
        doc="How many sessions one connection may hold.",
    )
    permit_root_login: str = keyword(
        "PermitRootLogin",
        kinds.choice(
            "prohibit-password", "yes", "forced-commands-only", "no",
            also={"without-password": "prohibit-password"},
        ),
        default="prohibit-password", in_match=True, tier=Tier.EVERYDAY,
        doc="How root may log in.",
    )
    strict_modes: bool = keyword(
        "StrictModes", kinds.YES_NO, default=True, tier=Tier.EVERYDAY,
        doc="Trust a user's files only if nobody else can write them.",
    )
    authentication_methods: tuple[str, ...] = keyword(
        "AuthenticationMethods", _METHODS, default=("any",), in_match=True, tier=Tier.EVERYDAY,
        doc="Lists of methods of which one must be gone through to its end.",
    )
    authorized_keys_file: tuple[str, ...] = keyword(
        "AuthorizedKeysFile", kinds.PATHS, in_match=True, tokens="%hUu", tier=Tier.EVERYDAY,
        default=(".ssh/authorized_keys", ".ssh/authorized_keys2"),
        doc="Files with a user's public keys, relative to the home directory.",
    )
    authorized_keys_command: str | None = keyword(
        "AuthorizedKeysCommand", kinds.COMMAND, default=None, in_match=True,
        tokens="%CDfhikKstTuU",
        doc="A program that prints lines of authorized_keys for the key it is told of.",
    )
    authorized_keys_command_user: str | None = keyword(
        "AuthorizedKeysCommandUser", kinds.or_none(kinds.WORD), default=None, in_match=True,
        doc="The account that AuthorizedKeysCommand runs as.",
    )
    trusted_user_ca_keys: str | None = keyword(
        "TrustedUserCAKeys", kinds.or_none(kinds.PATH), default=None, in_match=True,
        doc="A file of authorities whose certificates let their principals in.",
    )
    authorized_principals_file: str | None = keyword(
        "AuthorizedPrincipalsFile", kinds.or_none(kinds.PATH), default=None, in_match=True,
        tokens="%hUu",
        doc="A file of the principals that may log in as this user, instead of the user's own name.",
    )
    authorized_principals_command: str | None = keyword(
        "AuthorizedPrincipalsCommand", kinds.COMMAND, default=None, in_match=True,
        tokens="%CDFfhikKstTuU",
        doc="A program that prints lines of such a file for the certificate it is told of.",
    )
    authorized_principals_command_user: str | None = keyword(
        "AuthorizedPrincipalsCommandUser", kinds.or_none(kinds.WORD), default=None,
        in_match=True,
        doc="The account that AuthorizedPrincipalsCommand runs as.",
    )
    ca_signature_algorithms: str = keyword(
        "CASignatureAlgorithms", kinds.OPTIONAL_ALGORITHMS, default="", tier=Tier.RARE,
        doc="What authorities may sign certificates by.",
    )
    revoked_keys: tuple[str, ...] = keyword(
        "RevokedKeys", kinds.PATHS, default=(), in_match=True,
        doc="Files of keys that no longer let in, as lines or as a revocation list; one that"
        " cannot be read refuses all keys.",
    )
    host_certificate: tuple[str, ...] = keyword(
        "HostCertificate", kinds.PATH_EACH, default=(), merge=append,
        doc="A certificate for one of the host keys.",
    )
    pubkey_authentication: bool = keyword(
        "PubkeyAuthentication", kinds.YES_NO, default=True, in_match=True, tier=Tier.EVERYDAY,
        doc="Whether to let in by key.",
    )
    password_authentication: bool = keyword(
        "PasswordAuthentication", kinds.YES_NO, default=True, in_match=True, tier=Tier.EVERYDAY,
        doc="Whether to let in by password.",
    )
    permit_empty_passwords: bool = keyword(
        "PermitEmptyPasswords", kinds.YES_NO, default=False, in_match=True, tier=Tier.RARE,
        doc="Whether accounts without a password may log in by it.",
    )
    kbd_interactive_authentication: bool = keyword(
        "KbdInteractiveAuthentication", kinds.YES_NO, default=True, in_match=True,
        tier=Tier.EVERYDAY,
        doc="Whether to let in by questions and answers.",
    )
    allow_users: tuple[str, ...] = keyword(
        "AllowUsers", kinds.USER_PATTERNS, default=(), in_match=True, merge=append,
        tier=Tier.EVERYDAY,
        doc="Only users that fit one of these may log in.",
    )
    deny_users: tuple[str, ...] = keyword(
        "DenyUsers", kinds.USER_PATTERNS, default=(), in_match=True, merge=append,
        tier=Tier.EVERYDAY,
        doc="Users that fit one of these may not log in.",
    )
    allow_groups: tuple[str, ...] = keyword(
        "AllowGroups", kinds.PATTERNS, default=(), in_match=True, merge=append,
        tier=Tier.EVERYDAY,
        doc="Only members of a group that fits may log in.",
    )
    deny_groups: tuple[str, ...] = keyword(
        "DenyGroups", kinds.PATTERNS, default=(), in_match=True, merge=append,
        tier=Tier.EVERYDAY,
        doc="Members of a group that fits may not log in.",
    )
    ciphers: str = keyword(
        "Ciphers", kinds.OPTIONAL_ALGORITHMS, default="", tier=Tier.EVERYDAY,
        doc="The ciphers to allow.",
    )
    macs: str = keyword(
        "MACs", kinds.OPTIONAL_ALGORITHMS, default="", tier=Tier.EVERYDAY,
        doc="The message authentication codes to allow.",
    )
    kex_algorithms: str = keyword(
        "KexAlgorithms", kinds.OPTIONAL_ALGORITHMS, default="", tier=Tier.EVERYDAY,
        doc="The key exchange methods to allow.",
    )
    host_key_algorithms: str = keyword(
        "HostKeyAlgorithms", kinds.OPTIONAL_ALGORITHMS, default="", tier=Tier.EVERYDAY,
        doc="The signature algorithms to use with host keys.",
    )
    pubkey_accepted_algorithms: str = keyword(
        "PubkeyAcceptedAlgorithms", kinds.OPTIONAL_ALGORITHMS, default="", in_match=True,
        doc="The signature algorithms to accept from users.",
    )
    security_profile: str = keyword(
        "SecurityProfile", kinds.choice("default", "strict"), default="default",
        doc="strict leaves only key exchanges that withstand quantum computers.",
    )
    compression: str = keyword(
        "Compression", kinds.choice("yes", "delayed", "no"), default="yes",
        doc="Whether to compress once a user has logged in; yes and delayed are the same.",
    )
    rekey_limit: tuple[int, int] = keyword(
        "RekeyLimit", kinds.REKEY_LIMIT, default=(0, 0), in_match=True, tier=Tier.RARE,
        doc="After how many bytes and seconds to exchange keys anew; 0 leaves the cipher's own.",
    )
    client_alive_count_max: int = keyword(
        "ClientAliveCountMax", kinds.integer(0, 2**31 - 1), default=3, in_match=True,
        tier=Tier.EVERYDAY,
        doc="How many unanswered signs of life end the connection; 0 is never.",
    )
    client_alive_interval: int = keyword(
        "ClientAliveInterval", kinds.SECONDS, default=0, in_match=True, tier=Tier.EVERYDAY,
        doc="After how long a silence to ask for a sign of life; 0 is never.",
    )
    tcp_keep_alive: bool = keyword(
        "TCPKeepAlive", kinds.YES_NO, default=True,
        doc="Let the system notice that the client is gone.",
    )
    subsystem: tuple[tuple[str, str], ...] = keyword(
        "Subsystem", _SUBSYSTEM, default=(), in_match=True, merge=_add_subsystem,
        tier=Tier.EVERYDAY,
        doc="A name and the command behind it.",
    )
    force_command: str | None = keyword(
        "ForceCommand", kinds.COMMAND, default=None, in_match=True, tier=Tier.EVERYDAY,
        doc="The command to run, whatever the client asks for.",
    )
    permit_tty: bool = keyword(
        "PermitTTY", kinds.YES_NO, default=True, in_match=True,
        doc="Whether a session may have a terminal.",
    )
    accept_env: tuple[str, ...] = keyword(
        "AcceptEnv", kinds.PATTERNS, default=(), in_match=True, merge=append,
        doc="Patterns of variables to take from the client.",
    )
    set_env: tuple[str, ...] = keyword(
        "SetEnv", kinds.SETTINGS, default=(), in_match=True,
        doc="Variables and values of every session; only the first line counts.",
    )
    banner: str | None = keyword(
        "Banner", kinds.or_none(kinds.PATH), default=None, in_match=True,
        doc="A file to show before the login.",
    )
    print_motd: bool = keyword(
        "PrintMotd", kinds.YES_NO, default=True,
        doc="Show /etc/motd after the login.",
    )
    print_last_log: bool = keyword(
        "PrintLastLog", kinds.YES_NO, default=True,
        doc="Say when the user was last here.",
    )
    log_level: str = keyword(
        "LogLevel", kinds.LOG_LEVEL, default="INFO", in_match=True, tier=Tier.EVERYDAY,
        doc="How much to log.",
    )
    moduli_file: str = keyword(
        "ModuliFile", kinds.PATH, default="/etc/moduli", tier=Tier.RARE,
        doc="The groups for group exchange.",
    )
    use_dns: bool = keyword(
        "UseDNS", kinds.YES_NO, default=False,
        doc="Look up the client's name and check that it leads back.",
    )
    version_addendum: str | None = keyword(
        "VersionAddendum", kinds.TEXT, default=None, tier=Tier.RARE,
        doc="A comment in our identification line.",
    )

    # fmt: on

    def endpoints(self) -> tuple[tuple[str, int], ...]:
        """Hosts and ports to listen on; an empty host is every address."""
        addresses = self.listen_address or (ListenAddress(""),)
        return tuple(
            dict.fromkeys(
                (address.host, port)
                for address in addresses
                for port in (self.port if address.port is None else (address.port,))
            )
        )
