# SPDX-License-Identifier: MIT
"""ssh_config(5): what a client does for one host; the table of its keywords.

`tellin.config.ssh_reading.read_ssh_config` makes one from files and options.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Self

from tellin.config import forwards, kinds, ssh_kinds
from tellin.config.destination import host_fault, parse_jump, user_fault
from tellin.config.forwards import Forward
from tellin.config.keywords import (
    KeywordFile,
    Later,
    Row,
    Tier,
    append_new,
    keyword,
)
from tellin.config.ssh_kinds import KeysToAgent
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
_FROM_OUTSIDE: Final = {
    "h": host_fault,
    "n": host_fault,
    "k": host_fault,
    "r": user_fault,
    "j": lambda name: host_fault(name) if name else "",
}

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


_GSSAPI: Final = Later("Kerberos, which tellin leaves out", (False,))
_GSSAPI_OPTION: Final = Later("Kerberos, which tellin leaves out", None)


# These are expanded when they are used: keys one after the other, commands when they are run.
_SHOWN_AS_WRITTEN: Final = frozenset(
    {"certificate_file", "identity_file", "local_command", "proxy_command"}
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
    aliases=_ALIASES,
    silent="Protocol GSSAPIClientIdentity GSSAPIKexAlgorithms GSSAPIKeyExchange"
    " GSSAPIRenewalForcesRekey GSSAPIServerIdentity GSSAPITrustDNS",
    retired="Cipher FallBackToRsh GlobalKnownHostsFile2 RhostsAuthentication UserKnownHostsFile2"
    " UseRoaming UseRsh UsePrivilegedPort",
    unsupported="AFSTokenPassing KerberosAuthentication KerberosTgtPassing RSAAuthentication"
    " RhostsRSAAuthentication CompressionLevel",
    newer="ChannelTimeout ObscureKeystrokeTiming RefuseConnection Tag VersionAddendum WarnWeakCrypto",
    foreign="SecurityProfile",
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
        "AddKeysToAgent", ssh_kinds.KEYS_TO_AGENT, default=KeysToAgent("no"), tier=Tier.EVERYDAY,
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
        "FingerprintHash", kinds.FINGERPRINT_HASH, default="sha256", tier=Tier.RARE,
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
        "CertificateFile", kinds.OPTIONAL_PATH_EACH, default=(), merge=append_new, tokens=ANYWHERE,
        doc="A certificate for one of the keys; that in KEY-cert.pub is found without it.",
    )
    ca_signature_algorithms: str = keyword(
        "CASignatureAlgorithms", kinds.OPTIONAL_ALGORITHMS, default="", tier=Tier.RARE,
        doc="What authorities may sign host certificates by.",
    )
    revoked_host_keys: tuple[str, ...] = keyword(
        "RevokedHostKeys", kinds.OPTIONAL_PATHS, default=(), tokens=ANYWHERE, tier=Tier.RARE,
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
        "IdentityFile", kinds.PATH_EACH, merge=append_new, tokens=ANYWHERE, tier=Tier.EVERYDAY,
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
        "ObscureKeystrokeTiming", ssh_kinds.OBSCURED, default=20,
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
        kinds.choice(
            "yes", "no", "unbound", "host-bound",
            also=kinds.AS_YES_NO, shown=kinds.TRUE_FALSE,
        ),
        default="yes", tier=Tier.EVERYDAY,
        doc="Whether to log in by key; unbound and host-bound choose the form of the signature.",
    )
    rekey_limit: tuple[int, int] = keyword(
        "RekeyLimit", ssh_kinds.REKEY_LIMIT, default=(0, 0), tier=Tier.RARE,
        merge=ssh_kinds.merge_rekey_limit,
        doc="After how many bytes and seconds to exchange keys anew; 0 leaves the cipher's own.",
    )
    remote_command: str | None = keyword(
        "RemoteCommand", kinds.COMMAND, default=None, tokens=STANDARD,
        doc="The command to run if none is given.",
    )
    request_tty: str = keyword(
        "RequestTTY",
        kinds.choice("auto", "no", "yes", "force", also=kinds.AS_YES_NO, shown=kinds.TRUE_FALSE),
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
        "SendEnv", kinds.VARIABLES, default=(), merge=ssh_kinds.merge_environment,
        doc="Patterns of variables to send; -pattern takes out earlier ones.",
    )
    server_alive_count_max: int = keyword(
        "ServerAliveCountMax", kinds.integer(0, 2**31 - 1), default=3, tier=Tier.EVERYDAY,
        doc="How many unanswered signs of life end the connection.",
    )
    server_alive_interval: int = keyword(
        "ServerAliveInterval", ssh_kinds.time_or_none(0), default=0, tier=Tier.EVERYDAY,
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
        kinds.choice("ask", "yes", "accept-new", "no", also={"off": "no", **kinds.AS_YES_NO}, shown=kinds.TRUE_FALSE),
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
        "UpdateHostKeys", ssh_kinds.YES_NO_ASK, default="yes",
        doc="Learn a known host's other keys; no by default with a UserKnownHostsFile or VerifyHostKeyDNS.",
    )
    user_known_hosts_file: tuple[str, ...] = keyword(
        "UserKnownHostsFile", kinds.PATHS, tokens=ANYWHERE, tier=Tier.EVERYDAY,
        default=("~/.ssh/known_hosts", "~/.ssh/known_hosts2"),
        doc="The user's files of host keys; new ones go to the first.",
    )
    verify_host_key_dns: str = keyword(
        "VerifyHostKeyDNS", ssh_kinds.YES_NO_ASK, default="no", tier=Tier.RARE,
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
    bind_interface: str | None = keyword(
        "BindInterface", kinds.OPTIONAL_WORD, default=None, tier=Tier.RARE,
        doc="The network interface to connect by.",
    )
    canonical_domains: tuple[str, ...] = keyword(
        "CanonicalDomains", ssh_kinds.DOMAINS, default=(), tier=Tier.RARE,
        doc="The domains to look a short name up in.",
    )
    canonicalize_fallback_local: bool = keyword(
        "CanonicalizeFallbackLocal", kinds.YES_NO, default=True, tier=Tier.RARE,
        doc="Whether a name that is in none of CanonicalDomains is left to the system's resolver.",
    )
    canonicalize_hostname: str = keyword(
        "CanonicalizeHostname",
        kinds.choice("no", "yes", "always", also={"none": "no", **kinds.AS_YES_NO}, shown=kinds.TRUE_FALSE),
        default="no", tier=Tier.RARE,
        doc="Make a short name a full one, and read the configuration again for it; always: behind a proxy, too.",
    )
    canonicalize_max_dots: int = keyword(
        "CanonicalizeMaxDots", kinds.integer(0, 2**31 - 1), default=1, tier=Tier.RARE,
        doc="A name with more dots is a full one.",
    )
    canonicalize_permitted_cnames: tuple[tuple[str, str], ...] = keyword(
        "CanonicalizePermittedCNAMEs", ssh_kinds.CNAMES, default=(), tier=Tier.RARE,
        doc="Which names may lead by a CNAME to which.",
    )
    channel_timeout: tuple[tuple[str, int], ...] = keyword(
        "ChannelTimeout", kinds.CHANNEL_TIMEOUT, default=(), tier=Tier.RARE,
        doc="After how long a silence channels of a type are closed.",
    )
    clear_all_forwardings: bool = keyword(
        "ClearAllForwardings", kinds.YES_NO, default=False, tier=Tier.RARE,
        doc="Forget every forwarding that files and options name.",
    )
    control_master: str = keyword(
        "ControlMaster",
        kinds.choice("no", "yes", "ask", "auto", "autoask", also=kinds.AS_YES_NO, shown=kinds.TRUE_FALSE),
        default="no", tier=Tier.EVERYDAY,
        doc="Whether other clients may share this connection.",
    )
    control_path: str | None = keyword(
        "ControlPath", ssh_kinds.CONTROL_PATH, default=None, tokens=ANYWHERE,
        tier=Tier.EVERYDAY,
        doc="The socket by which a connection is shared.",
    )
    control_persist: int | None = keyword(
        "ControlPersist", ssh_kinds.CONTROL_PERSIST, default=None, tier=Tier.EVERYDAY,
        doc="How long a shared connection stays without a client; yes and 0 are for ever.",
    )
    dynamic_forward: tuple[Forward, ...] = keyword(
        "DynamicForward", forwards.DYNAMIC, default=(), merge=append_new,
        doc="Listen here and lead each connection where it asks by SOCKS.",
    )
    enable_escape_commandline: bool = keyword(
        "EnableEscapeCommandline", kinds.YES_NO, default=False, tier=Tier.RARE,
        doc="Whether ~C opens a command line.",
    )
    enable_ssh_keysign: bool = keyword(
        "EnableSSHKeysign", kinds.YES_NO, default=False, tier=Tier.RARE,
        later=Later("host-based login", None),
        doc="Whether ssh-keysign may be used for host-based login; in the system's file only.",
    )
    exit_on_forward_failure: bool = keyword(
        "ExitOnForwardFailure", kinds.YES_NO, default=False, tier=Tier.EVERYDAY,
        doc="Give up if a forwarding cannot be set up.",
    )
    forward_agent: str = keyword(
        "ForwardAgent", ssh_kinds.FORWARD_AGENT, default="no", tokens=ANYWHERE, tier=Tier.EVERYDAY,
        doc="Whether the server may ask our agent; or which agent, as a path or $NAME.",
    )
    forward_x11: bool = keyword(
        "ForwardX11", kinds.YES_NO, default=False,
        doc="Whether programs there may show windows here.",
    )
    forward_x11_timeout: int = keyword(
        "ForwardX11Timeout", ssh_kinds.time_or_none(1200), default=1200, tier=Tier.RARE,
        doc="For how long windows that are not trusted may be opened; 0 is for ever.",
    )
    forward_x11_trusted: bool = keyword(
        "ForwardX11Trusted", kinds.YES_NO, default=False,
        doc="Whether programs there may do to our display whatever ours may.",
    )
    gateway_ports: bool = keyword(
        "GatewayPorts", kinds.YES_NO, default=False,
        doc="Whether forwarded ports listen on every address.",
    )
    gssapi_authentication: bool = keyword(
        "GSSAPIAuthentication", kinds.YES_NO, default=False, tier=Tier.RARE, later=_GSSAPI,
        doc="Whether to log in by Kerberos.",
    )
    gssapi_delegate_credentials: bool = keyword(
        "GSSAPIDelegateCredentials", kinds.YES_NO, default=False, tier=Tier.RARE,
        later=_GSSAPI_OPTION,
        doc="Whether to hand our Kerberos credentials to the server.",
    )
    hostbased_accepted_algorithms: str = keyword(
        "HostbasedAcceptedAlgorithms", kinds.OPTIONAL_ALGORITHMS, default="", tier=Tier.RARE,
        later=Later("host-based login", None),
        doc="The signature algorithms of host-based login.",
    )
    hostbased_authentication: bool = keyword(
        "HostbasedAuthentication", kinds.YES_NO, default=False, tier=Tier.RARE,
        later=Later("host-based login", (False,)),
        doc="Whether to log in as a user of a host that is trusted.",
    )
    kbd_interactive_devices: tuple[str, ...] = keyword(
        "KbdInteractiveDevices", kinds.COMMA_LIST, default=(), tier=Tier.RARE,
        doc="Which kinds of questions to ask the server for.",
    )
    local_command: str | None = keyword(
        "LocalCommand", kinds.COMMAND, default=None, tokens=STANDARD + "T", by_shell=True,
        tier=Tier.RARE,
        doc="A command to run here once logged in, if PermitLocalCommand allows it.",
    )
    local_forward: tuple[Forward, ...] = keyword(
        "LocalForward", forwards.LOCAL, default=(), merge=append_new, tier=Tier.EVERYDAY,
        doc="Listen here and lead each connection to a place that the server reaches.",
    )
    log_verbose: tuple[str, ...] = keyword(
        "LogVerbose", kinds.LOG_VERBOSE, default=(), tier=Tier.RARE,
        doc="Patterns of places in the program that say everything.",
    )
    permit_local_command: bool = keyword(
        "PermitLocalCommand", kinds.YES_NO, default=False, tier=Tier.RARE,
        doc="Whether LocalCommand runs.",
    )
    permit_remote_open: tuple[str, ...] = keyword(
        "PermitRemoteOpen", kinds.OPEN_PLACES, default=("any",), tier=Tier.RARE,
        doc="Where connections to a forwarded port of the server's may ask to go by SOCKS.",
    )
    proxy_jump: str | None = keyword(
        "ProxyJump", ssh_kinds.JUMPS, default=None, tokens="%hnpr", tier=Tier.EVERYDAY,
        doc="The hosts to go through, first to last.",
    )
    proxy_use_fdpass: bool = keyword(
        "ProxyUseFdpass", kinds.YES_NO, default=False, tier=Tier.RARE,
        doc="Whether ProxyCommand hands over a connected socket and ends.",
    )
    refuse_connection: str | None = keyword(
        "RefuseConnection", kinds.TEXT, default=None, tokens=STANDARD, tier=Tier.RARE,
        doc="Do not connect; say this instead.",
    )
    remote_forward: tuple[Forward, ...] = keyword(
        "RemoteForward", forwards.REMOTE, default=(), merge=append_new, tier=Tier.EVERYDAY,
        doc="Let the server listen and lead each connection to a place that we reach.",
    )
    stream_local_bind_mask: int = keyword(
        "StreamLocalBindMask", kinds.octal(0o777), default=0o177, tier=Tier.RARE,
        doc="The permissions that sockets of forwardings are made without.",
    )
    stream_local_bind_unlink: bool = keyword(
        "StreamLocalBindUnlink", kinds.YES_NO, default=False, tier=Tier.RARE,
        doc="Whether a socket that is in the way is removed.",
    )
    syslog_facility: str = keyword(
        "SyslogFacility", kinds.SYSLOG_FACILITY, default="USER", tier=Tier.RARE,
        doc="What -y says to the system's log that it comes from.",
    )
    tunnel: str = keyword(
        "Tunnel", kinds.TUNNEL, default="no", tier=Tier.RARE,
        doc="Whether to join network devices of both sides.",
    )
    tunnel_device: tuple[int | None, int | None] = keyword(
        "TunnelDevice", ssh_kinds.TUNNEL_DEVICE, default=(None, None), tier=Tier.RARE,
        doc="The number of our device and of theirs; any leaves it to the system.",
    )
    xauth_location: str = keyword(
        "XAuthLocation", kinds.PATH, default="/usr/bin/xauth", tier=Tier.RARE,
        doc="The program that keeps the keys of displays.",
    )
    # fmt: on

    host_argument = ""
    user_is_literal = False
    warnings: tuple[str, ...] = ()
    story: tuple[str, ...] = ()
    """Which files were read, and which of their blocks hold: for whoever looks for a value's origin."""
    blocks: tuple[tuple[str, int], ...] = ()
    """The file and line of every Host and Match line that holds."""
    algorithms_named: tuple[Any, ...] = ()
    """Every algorithm list that was read, also of blocks that do not hold: `tellin.config.reading.NamedAlgorithms`."""
    not_yet: tuple[NotYet, ...] = ()
    tokens_put_in = False

    def dump(self) -> Iterator[str]:
        """As of any table, behind a line that says which host this is."""
        if self.host_argument:
            yield f"host {self.host_argument}"
        if self.hostname and not self.tokens_put_in:
            # fe80::1%eth0 would not read back; once all is put in, it is shown as OpenSSH shows it.
            doubled = self.hostname.replace("%", "%%")
            yield from super(SshConfig, self.replaced(hostname=doubled)).dump()
        else:
            yield from super().dump()

    @property
    def host(self) -> str:
        """The name or address to connect to."""
        return self.hostname or self.host_argument

    def shown(self, surroundings: Surroundings) -> Self:
        """The values as ``-G`` shows them: expanded, but for those that are expanded one by one."""
        # What is not shown is not put in: a variable that is set for ssh alone is no fault here.
        return self._expanded(surroundings, leave=_EXPANDED_ELSEWHERE | _SHOWN_AS_WRITTEN)

    def expanded(self, surroundings: Surroundings) -> Self:
        """The same with every ``%x``, ``${NAME}`` and ``~`` put in; raises ConfigError."""
        return self._expanded(surroundings, leave=_EXPANDED_ELSEWHERE)

    def _expanded(self, surroundings: Surroundings, *, leave: frozenset[str]) -> Self:
        tokens = client_tokens(self, surroundings)
        made: dict[str, Any] = {}
        for name, row in self.rows.items():
            value = getattr(self, name)
            if not row.tokens or not value or name in leave:
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
        if not self.is_set("global_known_hosts_file"):
            made["global_known_hosts_file"] = surroundings.locations.system_known_hosts
        return self.replaced(**made, tokens_put_in=True)

    def check_permitted(self) -> None:
        """Raise ConfigError where RefuseConnection says that nobody is to connect there."""
        if self.refuse_connection is not None:
            file, line = self.origin("refuse_connection")
            raise ConfigError(f"RefuseConnection: {self.refuse_connection}", file=file, line=line)

    def agent_path(self, environment: Mapping[str, str]) -> str | None:
        """The socket of the agent, or None to use none; call it on the expanded values."""
        wanted = self.identity_agent or "SSH_AUTH_SOCK"
        if wanted.lower() == "none":
            return None
        if wanted == "SSH_AUTH_SOCK" or wanted.startswith("$"):
            return environment.get(wanted.removeprefix("$")) or None
        return wanted

    def forwarded_agent(self, environment: Mapping[str, str]) -> str | None:
        """The socket of the agent that the server may ask, or None; on the expanded values."""
        wanted = self.forward_agent
        if wanted in {"yes", "no"}:
            return self.agent_path(environment) if wanted == "yes" else None
        return environment.get(wanted[1:]) or None if wanted.startswith("$") else wanted


def client_tokens(config: SshConfig, surroundings: Surroundings) -> Tokens:
    """What each letter after a ``%`` stands for, given the values so far."""
    user = config.user or surroundings.user
    full_name = surroundings.host
    texts = {
        "d": surroundings.home,
        "h": config.host,
        "i": str(surroundings.uid),
        "k": config.host_key_alias or config.host_argument,
        "L": full_name.partition(".")[0],
        "l": full_name,
        "n": config.host_argument,
        "p": str(config.port),
        "r": user,
        "T": "NONE",
        "u": surroundings.user,
    }
    tokens: dict[str, Callable[[], str]] = {letter: text.__str__ for letter, text in texts.items()}
    tokens["j"] = lambda: _jump_host(config.proxy_jump)
    tokens["C"] = lambda: _connection_hash("".join(tokens[letter]() for letter in "lhprj"))
    return tokens


def _jump_host(way: str | None) -> str:
    """The name of the host just before the server, as ProxyJump has it; with other ones on the way
    a connection is another one, and its %C too.
    """
    return parse_jump(way.rpartition(",")[2]).host if way else ""


def _connection_hash(text: str) -> str:
    # SHA-1 is what %C has always been: a short name for a socket, not a secret. Imported here
    # because few files use it.
    from hashlib import sha1  # noqa: PLC0415  (start-up time)

    return sha1(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def expand_value(row: Row[Any], value: Any, tokens: Tokens, surroundings: Surroundings) -> Any:
    """One keyword's value with everything put in that its row allows."""
    given = guarded(tokens) if row.by_shell else in_paths(tokens) if "~" in row.tokens else tokens

    def put_in(text: str) -> str:
        if "~" in row.tokens:
            text = expand_tilde(text, surroundings.home, surroundings.home_of)
        if row.tokens == "~":
            return text
        return expand(
            text,
            given,
            allowed=row.tokens,
            environment=surroundings.environment if "$" in row.tokens else None,
        )

    return tuple(map(put_in, value)) if isinstance(value, tuple) else put_in(value)


def guarded(tokens: Tokens) -> Tokens:
    """Tokens for a command line: names that a shell could take for more are refused (R170)."""
    return _checked(tokens, _FROM_OUTSIDE, "must not get to a shell")


def in_paths(tokens: Tokens) -> Tokens:
    """Tokens for the name of a file: names that lead to another directory are refused (R117)."""
    return _checked(tokens, dict.fromkeys(_FROM_OUTSIDE, _leads_elsewhere), "is no part of a path")


def _leads_elsewhere(name: str) -> str:
    if name in {".", ".."}:
        return "is a directory"
    # Whoever hands us an address (ssh://../x@host) does not choose among our files.
    return "holds '/'" if "/" in name else ""


def _checked(tokens: Tokens, faults: Mapping[str, Callable[[str], str]], what: str) -> Tokens:
    def checked(letter: str) -> Callable[[], str]:
        def text() -> str:
            found = tokens[letter]()
            fault = faults[letter](found)
            if fault:
                raise ConfigError(f"%{letter} {what}: {found[:80]!a} {fault}")
            return found

        return text

    return dict(tokens) | {letter: checked(letter) for letter in faults}
