# SPDX-License-Identifier: MIT
"""sshd_config(5): what a server does; the table of its keywords.

`tellin.config.sshd_reading.read_sshd_config` makes one from a file and options.
"""

from typing import Final

from tellin.config import kinds, sshd_kinds
from tellin.config.keywords import KeywordFile, Later, Tier, append, keyword
from tellin.config.sshd_kinds import ListenAddress

_ALIASES: Final = {
    "HostDSAKey": "HostKey",
    "HostBasedAcceptedKeyTypes": "HostbasedAcceptedAlgorithms",
    "PubkeyAcceptedKeyTypes": "PubkeyAcceptedAlgorithms",
    "DSAAuthentication": "PubkeyAuthentication",
    "ChallengeResponseAuthentication": "KbdInteractiveAuthentication",
    "SKeyAuthentication": "KbdInteractiveAuthentication",
    "KeepAlive": "TCPKeepAlive",
}

_GSSAPI: Final = Later("Kerberos, which tellin leaves out", (False,))
_GSSAPI_OPTION: Final = Later("Kerberos, which tellin leaves out", None)


class SshdConfig(
    KeywordFile,
    aliases=_ALIASES,
    retired="ServerKeyBits KeyRegenerationInterval RHostsAuthentication RhostsRSAAuthentication"
    " RSAAuthentication CheckMail UseLogin VerifyReverseMapping ReverseMappingCheck"
    " AuthorizedKeysFile2 UsePrivilegeSeparation KerberosTgtPassing AFSTokenPassing",
    # What distributions' own OpenSSH knows: exchanges by Kerberos, and a version without Debian's.
    silent="Protocol DebianBanner GSSAPIEnablek5users GSSAPIKexAlgorithms GSSAPIKeyExchange"
    " GSSAPIStoreCredentialsOnRekey KerberosUseKuserok",
    newer="GSSAPIDelegateCredentials PAMServiceName PerSourcePenalties PerSourcePenaltyExemptList"
    " RefuseConnection SshdAuthPath SshdSessionPath",
    foreign="SecurityProfile",
):
    """What a server does, for everybody or for one connection."""

    # A row reads as a row: the formatter would give every word a line of its own.
    # fmt: off

    port: tuple[int, ...] = keyword(
        "Port", sshd_kinds.PORTS, default=(22,), merge=append, tier=Tier.EVERYDAY,
        doc="A port to listen on.",
    )
    listen_address: tuple[ListenAddress, ...] = keyword(
        "ListenAddress", sshd_kinds.LISTEN, default=(), merge=append, tier=Tier.EVERYDAY,
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
        "MaxStartups", sshd_kinds.STARTUPS, default=(10, sshd_kinds.STARTUP_RATE, 100), tier=Tier.EVERYDAY,
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
            shown={"prohibit-password": "without-password"},
        ),
        default="prohibit-password", in_match=True, tier=Tier.EVERYDAY,
        doc="How root may log in.",
    )
    strict_modes: bool = keyword(
        "StrictModes", kinds.YES_NO, default=True, tier=Tier.EVERYDAY,
        doc="Trust a user's files only if nobody else can write them.",
    )
    authentication_methods: tuple[str, ...] = keyword(
        "AuthenticationMethods", sshd_kinds.METHOD_LISTS, default=("any",), in_match=True, tier=Tier.EVERYDAY,
        doc="Lists of methods of which one must be gone through to its end.",
    )
    authorized_keys_file: tuple[str, ...] = keyword(
        "AuthorizedKeysFile", kinds.PATHS, in_match=True, tokens="%hUu", tier=Tier.EVERYDAY,
        default=(".ssh/authorized_keys", ".ssh/authorized_keys2"),
        doc="Files with a user's public keys, relative to the home directory.",
    )
    authorized_keys_command: str | None = keyword(
        "AuthorizedKeysCommand", sshd_kinds.PROGRAM, default=None, in_match=True,
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
        "AuthorizedPrincipalsCommand", sshd_kinds.PROGRAM, default=None, in_match=True,
        tokens="%CDFfhikKstTuU",
        doc="A program that prints lines of such a file for the certificate it is told of.",
    )
    authorized_principals_command_user: str | None = keyword(
        "AuthorizedPrincipalsCommandUser", kinds.or_none(kinds.WORD), default=None,
        in_match=True,
        doc="The account that AuthorizedPrincipalsCommand runs as.",
    )
    ca_signature_algorithms: str = keyword(
        "CASignatureAlgorithms", kinds.OPTIONAL_ALGORITHMS, default="", in_match=True,
        tier=Tier.RARE,
        doc="What authorities may sign certificates by.",
    )
    revoked_keys: tuple[str, ...] = keyword(
        "RevokedKeys", kinds.PATHS, default=(), in_match=True,
        doc="Files of keys that no longer let in, as lines or as a revocation list; one that"
        " cannot be read refuses all keys.",
    )
    host_certificate: tuple[str, ...] = keyword(
        "HostCertificate", kinds.OPTIONAL_PATH_EACH, default=(), merge=append,
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
        "Compression", kinds.choice("yes", "delayed", "no", shown={"delayed": "yes"}), default="yes",
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
        "Subsystem", sshd_kinds.SUBSYSTEM, default=(), in_match=True, merge=sshd_kinds.add_subsystem,
        tier=Tier.EVERYDAY,
        doc="A name and the command behind it.",
    )
    force_command: str | None = keyword(
        "ForceCommand", kinds.COMMAND_OR_NONE, default=None, in_match=True, tier=Tier.EVERYDAY,
        doc="The command to run, whatever the client asks for.",
    )
    permit_tty: bool = keyword(
        "PermitTTY", kinds.YES_NO, default=True, in_match=True,
        doc="Whether a session may have a terminal.",
    )
    accept_env: tuple[str, ...] = keyword(
        "AcceptEnv", kinds.VARIABLES, default=(), in_match=True, merge=append,
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
        "VersionAddendum", kinds.TEXT_OR_NONE, default=None, tier=Tier.RARE,
        doc="A comment in our identification line.",
    )

    allow_agent_forwarding: bool = keyword(
        "AllowAgentForwarding", kinds.YES_NO, default=True, in_match=True,
        doc="Whether sessions may ask the user's agent.",
    )
    allow_stream_local_forwarding: str = keyword(
        "AllowStreamLocalForwarding", sshd_kinds.DIRECTIONS, default="yes", in_match=True, tier=Tier.RARE,
        doc="In which directions Unix sockets may be forwarded.",
    )
    allow_tcp_forwarding: str = keyword(
        "AllowTcpForwarding", sshd_kinds.DIRECTIONS, default="yes", in_match=True, tier=Tier.EVERYDAY,
        doc="In which directions ports may be forwarded.",
    )
    channel_timeout: tuple[tuple[str, int], ...] = keyword(
        "ChannelTimeout", kinds.CHANNEL_TIMEOUT, default=(), in_match=True, tier=Tier.RARE,
        doc="After how long a silence channels of a type are closed.",
    )
    chroot_directory: str | None = keyword(
        "ChrootDirectory", kinds.or_none(kinds.PATH), default=None, in_match=True, tokens="%hUu",
        doc="The directory that is / for a session; it and all above it are root's, and nobody else may write to them.",
    )
    disable_forwarding: bool = keyword(
        "DisableForwarding", kinds.YES_NO, default=False, in_match=True,
        doc="Forward nothing, whatever else is said.",
    )
    expose_auth_info: bool = keyword(
        "ExposeAuthInfo", kinds.YES_NO, default=False, in_match=True, tier=Tier.RARE,
        doc="Tell sessions in a file ($SSH_USER_AUTH) how their user logged in.",
    )
    fingerprint_hash: str = keyword(
        "FingerprintHash", kinds.FINGERPRINT_HASH, default="sha256", tier=Tier.RARE, later=Later("logs", ("sha256",)),
        doc="The hash of fingerprints in the log.",
    )
    gateway_ports: str = keyword(
        "GatewayPorts", kinds.choice("no", "yes", "clientspecified", also=kinds.AS_YES_NO), default="no", in_match=True,
        doc="Whether forwarded ports listen on every address.",
    )
    gssapi_authentication: bool = keyword(
        "GSSAPIAuthentication", kinds.YES_NO, default=False, in_match=True, tier=Tier.RARE, later=_GSSAPI,
        doc="Whether to let in by Kerberos.",
    )
    gssapi_cleanup_credentials: bool = keyword(
        "GSSAPICleanupCredentials", kinds.YES_NO, default=True, tier=Tier.RARE, later=_GSSAPI_OPTION,
        doc="Whether a session's Kerberos credentials go with it.",
    )
    gssapi_delegate_credentials: bool = keyword(
        "GSSAPIDelegateCredentials", kinds.YES_NO, default=True, tier=Tier.RARE, later=_GSSAPI_OPTION,
        doc="Whether to take Kerberos credentials from users.",
    )
    gssapi_strict_acceptor_check: bool = keyword(
        "GSSAPIStrictAcceptorCheck", kinds.YES_NO, default=True, tier=Tier.RARE, later=_GSSAPI_OPTION,
        doc="Whether only this host's own Kerberos name counts.",
    )
    hostbased_accepted_algorithms: str = keyword(
        "HostbasedAcceptedAlgorithms", kinds.OPTIONAL_ALGORITHMS, default="", in_match=True, tier=Tier.RARE, later=Later("host-based login", None),
        doc="The signature algorithms of host-based login.",
    )
    hostbased_authentication: bool = keyword(
        "HostbasedAuthentication", kinds.YES_NO, default=False, in_match=True, tier=Tier.RARE, later=Later("host-based login", (False,)),
        doc="Whether to let in users of hosts that are trusted.",
    )
    hostbased_uses_name_from_packet_only: bool = keyword(
        "HostbasedUsesNameFromPacketOnly", kinds.YES_NO, default=False, in_match=True, tier=Tier.RARE, later=Later("host-based login", None),
        doc="Whether to believe the name that a client gives its host.",
    )
    host_key_agent: str | None = keyword(
        "HostKeyAgent", kinds.or_none(kinds.PATH), default=None, tier=Tier.RARE, later=Later("the daemon", (None,)),
        doc="The agent that holds the private host keys.",
    )
    ignore_rhosts: str = keyword(
        "IgnoreRhosts", kinds.choice("yes", "no", "shosts-only", also=kinds.AS_YES_NO), default="yes", in_match=True, tier=Tier.RARE, later=Later("host-based login", None),
        doc="Whether to leave users' ~/.rhosts and ~/.shosts unread.",
    )
    ignore_user_known_hosts: bool = keyword(
        "IgnoreUserKnownHosts", kinds.YES_NO, default=False, tier=Tier.RARE, later=Later("host-based login", None),
        doc="Whether to leave users' known_hosts unread for host-based login.",
    )
    ip_qos: tuple[str, str] = keyword(
        "IPQoS", kinds.IP_QOS, default=("ef", "none"), in_match=True, tier=Tier.RARE,
        doc="The traffic class of interactive sessions, and of others.",
    )
    kerberos_authentication: bool = keyword(
        "KerberosAuthentication", kinds.YES_NO, default=False, in_match=True, tier=Tier.RARE, later=_GSSAPI,
        doc="Whether to check passwords with Kerberos.",
    )
    kerberos_get_afs_token: bool = keyword(
        "KerberosGetAFSToken", kinds.YES_NO, default=False, tier=Tier.RARE, later=_GSSAPI_OPTION,
        doc="Whether to fetch a token for AFS.",
    )
    kerberos_or_local_passwd: bool = keyword(
        "KerberosOrLocalPasswd", kinds.YES_NO, default=True, tier=Tier.RARE, later=_GSSAPI_OPTION,
        doc="Whether passwords that Kerberos does not know are checked here.",
    )
    kerberos_ticket_cleanup: bool = keyword(
        "KerberosTicketCleanup", kinds.YES_NO, default=True, tier=Tier.RARE, later=_GSSAPI_OPTION,
        doc="Whether a session's tickets go with it.",
    )
    log_verbose: tuple[str, ...] = keyword(
        "LogVerbose", kinds.LOG_VERBOSE, default=(), in_match=True, tier=Tier.RARE,
        doc="Patterns of places in the program that say everything.",
    )
    pam_service_name: str = keyword(
        "PAMServiceName", kinds.WORD, default="sshd", in_match=True, tier=Tier.RARE, later=Later("the daemon", None),
        doc="The service whose rules PAM follows.",
    )
    permit_listen: tuple[str, ...] = keyword(
        "PermitListen", kinds.LISTEN_PLACES, default=("any",), in_match=True,
        doc="Where clients may let this host listen.",
    )
    permit_open: tuple[str, ...] = keyword(
        "PermitOpen", kinds.OPEN_PLACES, default=("any",), in_match=True,
        doc="Where clients may be led to.",
    )
    permit_tunnel: str = keyword(
        "PermitTunnel", kinds.PERMIT_TUNNEL, default="no", in_match=True, tier=Tier.RARE,
        doc="Whether network devices may be joined.",
    )
    permit_user_environment: str = keyword(
        "PermitUserEnvironment", sshd_kinds.USER_ENVIRONMENT, default="no", tier=Tier.RARE, later=Later("the daemon", ("no",)),
        doc="Which variables ~/.ssh/environment and environment= may set.",
    )
    permit_user_rc: bool = keyword(
        "PermitUserRC", kinds.YES_NO, default=True, in_match=True, tier=Tier.RARE,
        doc="Whether ~/.ssh/rc runs before a session.",
    )
    per_source_max_startups: int | None = keyword(
        "PerSourceMaxStartups", kinds.or_none(kinds.integer(0, 2**31 - 1)), default=None, later=Later("the daemon", (None,)),
        doc="How many logins may be under way from one source.",
    )
    per_source_net_block_size: tuple[int, int] = keyword(
        "PerSourceNetBlockSize", sshd_kinds.BLOCK_SIZE, default=(32, 128), later=Later("the daemon", None),
        doc="How many bits of an IPv4 and of an IPv6 address make a source.",
    )
    per_source_penalties: tuple[str, ...] = keyword(
        "PerSourcePenalties", sshd_kinds.PENALTIES, default=("yes",), tier=Tier.EVERYDAY, later=Later("the daemon", (("no",),)),
        doc="How long sources that misbehave are kept out.",
    )
    per_source_penalty_exempt_list: tuple[str, ...] = keyword(
        "PerSourcePenaltyExemptList", sshd_kinds.BLOCKS, default=(), tier=Tier.EVERYDAY, later=Later("the daemon", None),
        doc="Sources that are never kept out.",
    )
    pubkey_auth_options: tuple[str, ...] = keyword(
        "PubkeyAuthOptions", sshd_kinds.KEY_DEMANDS, default=(), in_match=True, tier=Tier.RARE,
        doc="What is asked of every security key: touch-required, verify-required.",
    )
    routing_domain: str | None = keyword(
        "RDomain", kinds.or_none(kinds.WORD), default=None, in_match=True, tokens="%D", tier=Tier.RARE, later=Later("the daemon", (None,)),
        doc="The routing domain of sessions.",
    )
    refuse_connection: bool = keyword(
        "RefuseConnection", kinds.YES_NO, default=False, in_match=True,
        doc="Turn the client away as soon as this holds for it.",
    )
    required_rsa_size: int = keyword(
        "RequiredRSASize", kinds.integer(0, 65536), default=1024, in_match=True,
        doc="The fewest bits of a user's RSA key; never less than 1024.",
    )
    security_key_provider: str = keyword(
        "SecurityKeyProvider", kinds.WORD, default="internal", tier=Tier.RARE, later=Later("the daemon", None),
        doc="The library for host keys in security keys.",
    )
    sshd_auth_path: str | None = keyword(
        "SshdAuthPath", kinds.OPTIONAL_PATH, default=None, tier=Tier.RARE, later=Later("the daemon", None),
        doc="OpenSSH's program for logins; there is none here.",
    )
    sshd_session_path: str | None = keyword(
        "SshdSessionPath", kinds.OPTIONAL_PATH, default=None, tier=Tier.RARE, later=Later("the daemon", None),
        doc="OpenSSH's program for connections; there is none here.",
    )
    stream_local_bind_mask: int = keyword(
        "StreamLocalBindMask", kinds.octal(0o777), default=0o177, in_match=True, tier=Tier.RARE,
        doc="The permissions that sockets of forwardings are made without.",
    )
    stream_local_bind_unlink: bool = keyword(
        "StreamLocalBindUnlink", kinds.YES_NO, default=False, in_match=True, tier=Tier.RARE,
        doc="Whether a socket that is in the way is removed.",
    )
    syslog_facility: str = keyword(
        "SyslogFacility", kinds.SYSLOG_FACILITY, default="AUTH",
        doc="What the log says that its lines come from.",
    )
    unused_connection_timeout: int | None = keyword(
        "UnusedConnectionTimeout", kinds.or_none(kinds.SECONDS), default=None, in_match=True, tier=Tier.RARE,
        doc="How long a connection may stay without a channel.",
    )
    use_pam: bool = keyword(
        "UsePAM", kinds.YES_NO, default=False, later=Later("the daemon", (False,)),
        doc="Whether accounts and sessions go through PAM.",
    )
    x11_display_offset: int = keyword(
        "X11DisplayOffset", kinds.integer(0, 65535 - 6000), default=10, in_match=True,
        doc="The first display number for forwarding.",
    )
    x11_forwarding: bool = keyword(
        "X11Forwarding", kinds.YES_NO, default=False, in_match=True,
        doc="Whether sessions may open windows on the client's display.",
    )
    x11_use_localhost: bool = keyword(
        "X11UseLocalhost", kinds.YES_NO, default=True, in_match=True,
        doc="Whether displays listen on the loopback address alone.",
    )
    xauth_location: str = keyword(
        "XAuthLocation", kinds.PATH, default="/usr/bin/xauth",
        doc="The program that keeps the keys of displays.",
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
