# SPDX-License-Identifier: MIT
"""ssh_config(5): what a client does for one host; the table of its keywords.

`tellin.config.ssh_reading.read_ssh_config` makes one from files and options.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Self

from tellin.config import kinds
from tellin.config.destination import host_fault, user_fault
from tellin.config.keywords import KeywordFile, Pending, Row, Tier, append, keyword, pending
from tellin.config.patterns import match_pattern
from tellin.config.surroundings import Surroundings
from tellin.config.tokens import Tokens, expand, expand_tilde
from tellin.errors import ConfigError
from tellin.wire import Record

STANDARD: Final = "%CdhijkLlnpru"
"""The letters that most keywords with tokens allow."""

ANYWHERE: Final = STANDARD + "$~"

KNOWN_HOSTS_TOKENS: Final = STANDARD + "fHIKt"

_IDENTITIES: Final = tuple(
    f"~/.ssh/id_{kind}"
    for kind in ("rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk", "mldsa44_ed25519")
)

# Names that came from outside and that a shell would read as more than a name must not get to one
# by way of these letters (R170, CVE-2025-61984).
_FROM_OUTSIDE: Final = {"h": host_fault, "n": host_fault, "k": host_fault, "r": user_fault}

# Keywords whose features are still to come; see `tellin.config.keywords.pending`.
LATER: Final[dict[str, Pending]] = pending("""
    !BindInterface
    CanonicalDomains *
    CanonicalizeFallbackLocal *
    CanonicalizeHostname no none
    CanonicalizeMaxDots *
    CanonicalizePermittedCNAMEs *
    ChannelTimeout none
    ClearAllForwardings *
    ControlMaster no
    ControlPath *
    ControlPersist *
    DynamicForward
    EnableEscapeCommandline no
    EnableSSHKeysign *
    ExitOnForwardFailure *
    ForwardAgent no
    ForwardX11 no
    ForwardX11Timeout *
    ForwardX11Trusted *
    GatewayPorts *
    GSSAPIAuthentication no
    GSSAPIClientIdentity *
    GSSAPIDelegateCredentials *
    GSSAPIKexAlgorithms *
    GSSAPIKeyExchange no
    GSSAPIRenewalForcesRekey *
    GSSAPIServerIdentity *
    GSSAPITrustDNS *
    HostbasedAcceptedAlgorithms *
    HostbasedAuthentication no
    KbdInteractiveDevices
    LocalCommand *
    LocalForward
    LogVerbose none
    PermitLocalCommand no
    PermitRemoteOpen *
    !ProxyJump none
    !ProxyUseFdpass no
    !RefuseConnection
    RemoteForward
    StreamLocalBindMask *
    StreamLocalBindUnlink *
    SyslogFacility *
    Tunnel no
    TunnelDevice *
    XAuthLocation *
""")

_ALIASES: Final = {
    "ChallengeResponseAuthentication": "KbdInteractiveAuthentication",
    "SKeyAuthentication": "KbdInteractiveAuthentication",
    "TISAuthentication": "KbdInteractiveAuthentication",
    "DSAAuthentication": "PubkeyAuthentication",
    "IdentityFile2": "IdentityFile",
    "KeepAlive": "TCPKeepAlive",
    "HostbasedKeyTypes": "HostbasedAcceptedAlgorithms",
    "PubkeyAcceptedKeyTypes": "PubkeyAcceptedAlgorithms",
    "SmartcardDevice": "PKCS11Provider",
}


def _merge_environment(earlier: tuple[str, ...], later: tuple[str, ...]) -> tuple[str, ...]:
    """SendEnv: a ``-pattern`` takes out what came before it."""
    kept = earlier
    for pattern in later:
        if pattern.startswith("-"):
            kept = tuple(name for name in kept if not match_pattern(name, pattern[1:]))
        else:
            kept = (*kept, pattern)
    return kept


def _obscured(word: str) -> int:
    if word.lower() in {"yes", "no"}:
        return 20 if word.lower() == "yes" else 0
    label, _, milliseconds = word.partition(":")
    if label.lower() != "interval":
        raise ConfigError(f"{word[:40]!a} is neither yes, no nor interval:N")
    return kinds.read_integer(milliseconds, 1, 2000)


_OBSCURED: Final = kinds.one(
    _obscured,
    lambda value: {0: "no", 20: "yes"}.get(value, f"interval:{value}"),
    "yes|no|interval:milliseconds",
)


_YES_NO_ASK: Final = kinds.choice("yes", "no", "ask", also={"true": "yes", "false": "no"})


class KeysToAgent(Record):
    """AddKeysToAgent: ``no``, ``yes``, ``ask`` or ``confirm``, and a lifetime in seconds; 0 is none."""

    how: str
    lifetime: int = 0


def _read_keys_to_agent(words: list[str]) -> KeysToAgent:
    how = {"true": "yes", "false": "no"}.get(words[0].lower(), words[0].lower())
    if len(words) == 1 and how in {"yes", "no", "ask", "confirm"}:
        return KeysToAgent(how)
    if len(words) == 2 and how == "confirm":
        return KeysToAgent(how, kinds.read_seconds(words[1]))
    if len(words) == 1:
        return KeysToAgent("yes", kinds.read_seconds(how))
    raise ConfigError("extra words at the end of the line")


def _show_keys_to_agent(value: KeysToAgent) -> tuple[str]:
    if not value.lifetime:
        return (value.how,)
    return (f"{'confirm ' if value.how == 'confirm' else ''}{value.lifetime}",)


_KEYS_TO_AGENT: Final = kinds.Kind(
    _read_keys_to_agent, _show_keys_to_agent, "yes|no|ask|confirm [time]|time"
)


class NotYet(Record):
    """A keyword of a file whose feature is missing: it was left out."""

    keyword: str
    value: str
    file: str
    line: int


# One is put in while the files are read, the other when there is a key to ask about.
_EXPANDED_ELSEWHERE: Final = frozenset({"hostname", "known_hosts_command"})


class SshConfig(
    KeywordFile,
    later=LATER,
    aliases=_ALIASES,
    retired="Cipher FallBackToRsh GlobalKnownHostsFile2 RhostsAuthentication UserKnownHostsFile2"
    " UseRoaming UseRsh UsePrivilegedPort AFSTokenPassing KerberosAuthentication"
    " KerberosTgtPassing RSAAuthentication RhostsRSAAuthentication CompressionLevel",
    silent="Protocol",
):
    """What holds for one host. ``host_argument`` is the host as it was asked for."""

    # A row reads as a row: the formatter would give every word a line of its own.
    # fmt: off

    hostname: str | None = keyword(
        "Hostname", kinds.OPTIONAL_WORD, default=None, tokens="%h", tier=Tier.EVERYDAY,
        doc="The real name or address to connect to; the host as it was asked for if unset.",
    )
    port: int = keyword(
        "Port", kinds.PORT, default=22, tier=Tier.EVERYDAY,
        doc="The port to connect to.",
    )
    user: str | None = keyword(
        "User", kinds.OPTIONAL_WORD, default=None, tokens="%dhijkLlnpu$", tier=Tier.EVERYDAY,
        doc="The name to log in as; the local user's if unset.",
    )
    add_keys_to_agent: KeysToAgent = keyword(
        "AddKeysToAgent", _KEYS_TO_AGENT, default=KeysToAgent("no"), tier=Tier.EVERYDAY,
        doc="Give a key that was read from a file to the agent, for so long and on these terms.",
    )
    address_family: str = keyword(
        "AddressFamily", kinds.choice("any", "inet", "inet6"), default="any",
        doc="Which kinds of address to try.",
    )
    batch_mode: bool = keyword(
        "BatchMode", kinds.YES_NO, default=False, tier=Tier.EVERYDAY,
        doc="Never ask anything: no passwords, passphrases or confirmations.",
    )
    bind_address: str | None = keyword(
        "BindAddress", kinds.OPTIONAL_WORD, default=None, tier=Tier.RARE,
        doc="The local address to connect from.",
    )
    check_host_ip: bool = keyword(
        "CheckHostIP", kinds.YES_NO, default=False, tier=Tier.RARE,
        doc="Also look the server's address up in known_hosts.",
    )
    ciphers: str = keyword(
        "Ciphers", kinds.OPTIONAL_ALGORITHMS, default="",
        doc="The ciphers to offer, best first.",
    )
    compression: bool = keyword(
        "Compression", kinds.YES_NO, default=False,
        doc="Whether to ask for compression.",
    )
    connection_attempts: int = keyword(
        "ConnectionAttempts", kinds.integer(1, 2**31 - 1), default=1, tier=Tier.RARE,
        doc="How often to try, one try a second.",
    )
    connect_timeout: int | None = keyword(
        "ConnectTimeout", kinds.or_none(kinds.SECONDS), default=None, tier=Tier.EVERYDAY,
        doc="How long connecting, identification and the first key exchange may take.",
    )
    escape_char: str = keyword(
        "EscapeChar", kinds.ESCAPE_CHARACTER, default="~", tier=Tier.RARE,
        doc="The character that begins an escape at the start of a line on a terminal.",
    )
    fingerprint_hash: str = keyword(
        "FingerprintHash", kinds.choice("sha256", "md5"), default="sha256", tier=Tier.RARE,
        doc="The hash of fingerprints that are shown.",
    )
    fork_after_authentication: bool = keyword(
        "ForkAfterAuthentication", kinds.YES_NO, default=False, tier=Tier.RARE,
        doc="Go to the background once logged in.",
    )
    global_known_hosts_file: tuple[str, ...] = keyword(
        "GlobalKnownHostsFile", kinds.PATHS, tokens="~", tier=Tier.RARE,
        default=("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"),
        doc="Files of host keys for all users; never written.",
    )
    certificate_file: tuple[str, ...] = keyword(
        "CertificateFile", kinds.PATH_EACH, default=(), merge=append, tokens=ANYWHERE,
        doc="A certificate for one of the keys; that in KEY-cert.pub is found without it.",
    )
    ca_signature_algorithms: str = keyword(
        "CASignatureAlgorithms", kinds.OPTIONAL_ALGORITHMS, default="", tier=Tier.RARE,
        doc="What authorities may sign host certificates by.",
    )
    revoked_host_keys: tuple[str, ...] = keyword(
        "RevokedHostKeys", kinds.PATHS, default=(), tokens="$~", tier=Tier.RARE,
        doc="Files of host keys that are no longer believed, as lines or as a revocation list.",
    )
    hash_known_hosts: bool = keyword(
        "HashKnownHosts", kinds.YES_NO, default=False,
        doc="Hash the names of hosts that are added to known_hosts.",
    )
    host_key_algorithms: str = keyword(
        "HostKeyAlgorithms", kinds.OPTIONAL_ALGORITHMS, default="",
        doc="The host key algorithms to accept, best first; by default those of known keys lead.",
    )
    host_key_alias: str | None = keyword(
        "HostKeyAlias", kinds.OPTIONAL_WORD, default=None,
        doc="The name to use in known_hosts instead of the host's.",
    )
    identities_only: bool = keyword(
        "IdentitiesOnly", kinds.YES_NO, default=False, tier=Tier.EVERYDAY,
        doc="Offer only configured keys, even if the agent holds more.",
    )
    identity_agent: str | None = keyword(
        "IdentityAgent", kinds.OPTIONAL_PATH, default=None, tokens=ANYWHERE, tier=Tier.EVERYDAY,
        doc="The agent's socket: a path, $NAME, SSH_AUTH_SOCK, or none.",
    )
    identity_file: tuple[str, ...] = keyword(
        "IdentityFile", kinds.PATH_EACH, merge=append, tokens=ANYWHERE, tier=Tier.EVERYDAY,
        default=_IDENTITIES,
        doc="A key to try; a public key stands for one that the agent holds.",
    )
    ignore_unknown: tuple[str, ...] = keyword(
        "IgnoreUnknown", kinds.COMMA_LIST, default=(),
        doc="Patterns of unknown keywords that later lines may hold.",
    )
    ip_qos: tuple[str, str] = keyword(
        "IPQoS", kinds.IP_QOS, default=("ef", "none"), tier=Tier.RARE,
        doc="The traffic class of interactive sessions, and of others.",
    )
    kbd_interactive_authentication: bool = keyword(
        "KbdInteractiveAuthentication", kinds.YES_NO, default=True,
        doc="Whether to answer the server's questions.",
    )
    kex_algorithms: str = keyword(
        "KexAlgorithms", kinds.OPTIONAL_ALGORITHMS, default="",
        doc="The key exchange methods to offer, best first.",
    )
    known_hosts_command: str | None = keyword(
        "KnownHostsCommand", kinds.COMMAND, default=None, tokens=KNOWN_HOSTS_TOKENS + "$", tier=Tier.RARE,
        doc="A program, by its full path, that writes lines of known_hosts for the host at hand.",
    )
    log_level: str = keyword(
        "LogLevel", kinds.LOG_LEVEL, default="INFO", tier=Tier.EVERYDAY,
        doc="How much to say on standard error.",
    )
    macs: str = keyword(
        "MACs", kinds.OPTIONAL_ALGORITHMS, default="",
        doc="The message authentication codes to offer, best first.",
    )
    no_host_authentication_for_localhost: bool = keyword(
        "NoHostAuthenticationForLocalhost", kinds.YES_NO, default=False, tier=Tier.RARE,
        doc="Take any host key of this machine's own loopback addresses.",
    )
    number_of_password_prompts: int = keyword(
        "NumberOfPasswordPrompts", kinds.integer(0, 2**31 - 1), default=3, tier=Tier.RARE,
        doc="How often to ask for a password.",
    )
    obscure_keystroke_timing: int = keyword(
        "ObscureKeystrokeTiming", _OBSCURED, default=20,
        doc="Hide when keys are pressed by sending at this interval; 0 is no.",
    )
    password_authentication: bool = keyword(
        "PasswordAuthentication", kinds.YES_NO, default=True, tier=Tier.EVERYDAY,
        doc="Whether to log in by password.",
    )
    pkcs11_provider: str | None = keyword(
        "PKCS11Provider", kinds.OPTIONAL_PATH, default=None, tokens="~", tier=Tier.RARE,
        doc="The PKCS#11 module of a token whose keys to try.",
    )
    preferred_authentications: tuple[str, ...] = keyword(
        "PreferredAuthentications", kinds.COMMA_LIST,
        default=("gssapi-with-mic", "hostbased", "publickey", "keyboard-interactive", "password"),
        doc="The order in which methods of authentication are tried.",
    )
    proxy_command: str | None = keyword(
        "ProxyCommand", kinds.COMMAND, default=None, tokens="%hnpr", by_shell=True,
        tier=Tier.EVERYDAY,
        doc="A command whose standard input and output lead to the server.",
    )
    pubkey_accepted_algorithms: str = keyword(
        "PubkeyAcceptedAlgorithms", kinds.OPTIONAL_ALGORITHMS, default="",
        doc="The signature algorithms to use with keys.",
    )
    pubkey_authentication: str = keyword(
        "PubkeyAuthentication",
        kinds.choice("yes", "no", "unbound", "host-bound", also={"true": "yes", "false": "no"}),
        default="yes", tier=Tier.EVERYDAY,
        doc="Whether to log in by key; unbound and host-bound choose the form of the signature.",
    )
    rekey_limit: tuple[int, int] = keyword(
        "RekeyLimit", kinds.REKEY_LIMIT, default=(0, 0), tier=Tier.RARE,
        doc="After how many bytes and seconds to exchange keys anew; 0 leaves the cipher's own.",
    )
    remote_command: str | None = keyword(
        "RemoteCommand", kinds.COMMAND, default=None, tokens=STANDARD,
        doc="The command to run if none is given.",
    )
    request_tty: str = keyword(
        "RequestTTY",
        kinds.choice("auto", "no", "yes", "force", also={"true": "yes", "false": "no"}),
        default="auto", tier=Tier.EVERYDAY,
        doc="Whether to ask for a terminal.",
    )
    required_rsa_size: int = keyword(
        "RequiredRSASize", kinds.integer(0, 65536), default=1024,
        doc="The fewest bits of an RSA key; never less than 1024.",
    )
    security_key_provider: str = keyword(
        "SecurityKeyProvider", kinds.WORD, default="internal", tier=Tier.RARE,
        doc="How security keys are reached: internal, the device of one, or $NAME.",
    )
    security_profile: str = keyword(
        "SecurityProfile", kinds.choice("default", "strict"), default="default",
        doc="strict leaves only key exchanges that withstand quantum computers.",
    )
    send_env: tuple[str, ...] = keyword(
        "SendEnv", kinds.PATTERNS, default=(), merge=_merge_environment,
        doc="Patterns of variables to send; -pattern takes out earlier ones.",
    )
    server_alive_count_max: int = keyword(
        "ServerAliveCountMax", kinds.integer(0, 2**31 - 1), default=3, tier=Tier.EVERYDAY,
        doc="How many unanswered signs of life end the connection.",
    )
    server_alive_interval: int = keyword(
        "ServerAliveInterval", kinds.SECONDS, default=0, tier=Tier.EVERYDAY,
        doc="After how long a silence to ask for a sign of life; 0 is never.",
    )
    session_type: str = keyword(
        "SessionType", kinds.choice("default", "none", "subsystem"), default="default",
        doc="Whether to start a command, nothing, or a subsystem.",
    )
    set_env: tuple[str, ...] = keyword(
        "SetEnv", kinds.SETTINGS, default=(), tokens=STANDARD + "$",
        doc="Variables and values to send; only the first line counts.",
    )
    stdin_null: bool = keyword(
        "StdinNull", kinds.YES_NO, default=False, tier=Tier.RARE,
        doc="Read standard input from /dev/null.",
    )
    strict_host_key_checking: str = keyword(
        "StrictHostKeyChecking",
        kinds.choice("ask", "yes", "accept-new", "no", also={"off": "no", "true": "yes", "false": "no"}),
        default="ask", tier=Tier.EVERYDAY,
        doc="What to do about a host key that is not on record.",
    )
    tag: str | None = keyword(
        "Tag", kinds.OPTIONAL_WORD, default=None, tier=Tier.RARE,
        doc="A name for Match tagged to test.",
    )
    tcp_keep_alive: bool = keyword(
        "TCPKeepAlive", kinds.YES_NO, default=True,
        doc="Let the system notice that the server is gone.",
    )
    update_host_keys: str = keyword(
        "UpdateHostKeys", _YES_NO_ASK, default="yes",
        doc="Learn a known host's other keys; no by default with a UserKnownHostsFile or VerifyHostKeyDNS.",
    )
    user_known_hosts_file: tuple[str, ...] = keyword(
        "UserKnownHostsFile", kinds.PATHS, tokens=ANYWHERE, tier=Tier.EVERYDAY,
        default=("~/.ssh/known_hosts", "~/.ssh/known_hosts2"),
        doc="The user's files of host keys; new ones go to the first.",
    )
    verify_host_key_dns: str = keyword(
        "VerifyHostKeyDNS", _YES_NO_ASK, default="no", tier=Tier.RARE,
        doc="Look host keys up in the DNS (SSHFP); yes trusts what is signed there.",
    )
    version_addendum: str | None = keyword(
        "VersionAddendum", kinds.TEXT, default=None, tokens=STANDARD, tier=Tier.RARE,
        doc="A comment in our identification line.",
    )
    visual_host_key: bool = keyword(
        "VisualHostKey", kinds.YES_NO, default=False,
        doc="Draw the host key as a picture.",
    )
    warn_weak_crypto: str = keyword(
        "WarnWeakCrypto", kinds.choice("yes", "no", "no-pq-kex"), default="yes",
        doc="Warn of a key exchange that a quantum computer could break.",
    )
    # fmt: on

    host_argument = ""
    user_is_literal = False
    warnings: tuple[str, ...] = ()
    story: tuple[str, ...] = ()
    """Which files were read, and which of their blocks hold: for whoever looks for a value's origin."""
    not_yet: tuple[NotYet, ...] = ()

    def dump(self) -> Iterator[str]:
        """As of any table, behind a line that says which host this is."""
        if self.host_argument:
            yield f"host {self.host_argument}"
        yield from super().dump()

    @property
    def host(self) -> str:
        """The name or address to connect to."""
        return self.hostname or self.host_argument

    def expanded(self, surroundings: Surroundings) -> Self:
        """The same with every ``%x``, ``${NAME}`` and ``~`` put in; raises ConfigError."""
        tokens = client_tokens(self, surroundings)
        made: dict[str, Any] = {}
        for name, row in self.rows.items():
            value = getattr(self, name)
            if not row.tokens or not value or name in _EXPANDED_ELSEWHERE:
                continue
            # R171: a user named on the command line is taken as it is.
            if name == "user" and self.user_is_literal:
                continue
            try:
                made[name] = expand_value(row, value, tokens, surroundings)
            except ConfigError as fault:
                file, line = self.origin(name)
                message, hint = f"{row.spelling}: {fault}", fault.hint
                raise ConfigError(
                    message, file=file, line=line, keyword=row.spelling, hint=hint
                ) from None
        return self.replaced(**made)

    def agent_path(self, environment: Mapping[str, str]) -> str | None:
        """The socket of the agent, or None to use none; call it on the expanded values."""
        wanted = self.identity_agent or "SSH_AUTH_SOCK"
        if wanted.lower() == "none":
            return None
        if wanted == "SSH_AUTH_SOCK" or wanted.startswith("$"):
            return environment.get(wanted.removeprefix("$")) or None
        return wanted


def client_tokens(config: SshConfig, surroundings: Surroundings) -> Tokens:
    """What each letter after a ``%`` stands for, given the values so far."""
    user = config.user or surroundings.user
    full_name = surroundings.host
    texts = {
        "d": surroundings.home,
        "h": config.host,
        "i": str(surroundings.uid),
        "j": "",
        "k": config.host_key_alias or config.host_argument,
        "L": full_name.partition(".")[0],
        "l": full_name,
        "n": config.host_argument,
        "p": str(config.port),
        "r": user,
        "u": surroundings.user,
    }
    tokens: dict[str, Callable[[], str]] = {letter: text.__str__ for letter, text in texts.items()}
    tokens["C"] = lambda: _connection_hash("".join(texts[letter] for letter in "lhprj"))
    return tokens


def _connection_hash(text: str) -> str:
    # SHA-1 is what %C has always been: a short name for a socket, not a secret. Imported here
    # because few files use it.
    from hashlib import sha1  # noqa: PLC0415  (start-up time)

    return sha1(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def expand_value(row: Row[Any], value: Any, tokens: Tokens, surroundings: Surroundings) -> Any:
    """One keyword's value with everything put in that its row allows."""

    def put_in(text: str) -> str:
        if "~" in row.tokens:
            text = expand_tilde(text, surroundings.home, surroundings.home_of)
        if row.tokens == "~":
            return text
        return expand(
            text,
            guarded(tokens) if row.by_shell else tokens,
            allowed=row.tokens,
            environment=surroundings.environment if "$" in row.tokens else None,
        )

    return tuple(map(put_in, value)) if isinstance(value, tuple) else put_in(value)


def guarded(tokens: Tokens) -> Tokens:
    """Tokens for a command line: names that a shell could take for more are refused (R170)."""

    def checked(letter: str) -> Callable[[], str]:
        def text() -> str:
            found = tokens[letter]()
            fault = _FROM_OUTSIDE[letter](found)
            if fault:
                raise ConfigError(f"%{letter} must not get to a shell: {found[:80]!a} {fault}")
            return found

        return text

    return dict(tokens) | {letter: checked(letter) for letter in _FROM_OUTSIDE}
