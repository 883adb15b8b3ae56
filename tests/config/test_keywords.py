# SPDX-License-Identifier: MIT
"""The tables: every row is complete, every value reads back, every misspelling gets an answer."""

from typing import Any

import pytest

from tellin.config import kinds
from tellin.config.grammar import Line, read_line
from tellin.config.keywords import KeywordFile, Retired, Row, append, keyword
from tellin.config.ssh_config import SshConfig
from tellin.config.sshd_config import SshdConfig
from tellin.errors import ConfigError

TABLES = (SshConfig, SshdConfig)
ROWS = [(table, row) for table in TABLES for row in table.rows.values()]
ROW_IDS = [f"{table.__name__}.{row.spelling}" for table, row in ROWS]


def line_of(text: str) -> Line:
    return read_line(text, file="f", number=7)


@pytest.mark.parametrize(("table", "row"), ROWS, ids=ROW_IDS)
def test_a_row_says_what_it_is(table: type[KeywordFile], row: Row[Any]) -> None:
    assert row.doc.endswith(".")
    assert row.doc[0].isupper() or row.doc.split()[0] in {"strict", "a"}
    assert row.kind.grammar
    assert table.known[row.spelling.lower()] is row
    assert getattr(table, row.attribute) is row.default
    assert set(row.tokens) <= set("%CDdhiIjkKLlnprTtuUsfFH$~")


@pytest.mark.parametrize(("table", "row"), ROWS, ids=ROW_IDS)
def test_a_default_reads_back(table: type[KeywordFile], row: Row[Any]) -> None:
    shown = row.shown(row.default)
    values = [row.read(line_of(f"{row.spelling} {text}")) for text in shown]
    for value in values[1:]:
        assert row.merge is not None
        values[0] = row.merge(values[0], value)
    assert (values or [row.default])[0] == row.default


SAMPLES = [
    (kinds.YES_NO, "yes", True),
    (kinds.YES_NO, "False", False),
    (kinds.PORT, "65535", 65535),
    (kinds.integer(-5, 5), "-5", -5),
    (kinds.octal(0o777), "0177", 0o177),
    (kinds.SECONDS, "90", 90),
    (kinds.SECONDS, "1h30m", 5400),
    (kinds.SECONDS, "1w2d3H4M5S", 604800 + 2 * 86400 + 3 * 3600 + 245),
    (kinds.REKEY_LIMIT, "default none", (0, 0)),
    (kinds.REKEY_LIMIT, "1G 1h", (1 << 30, 3600)),
    (kinds.REKEY_LIMIT, "512k", (512 << 10, 0)),
    (kinds.REKEY_LIMIT, "16", (16, 0)),
    (kinds.ESCAPE_CHARACTER, "none", ""),
    (kinds.ESCAPE_CHARACTER, "^b", "\x02"),
    (kinds.ESCAPE_CHARACTER, '"\'"', "'"),
    (kinds.COMMAND, "nc %h # 'x", "nc %h # 'x"),
    (kinds.PATHS, "a 'b c'", ("a", "b c")),
    (kinds.PATHS, "none", ()),
    (kinds.PATH_EACH, '"b c"', ("b c",)),
    (kinds.COMMA_LIST, "a,b", ("a", "b")),
    (kinds.SETTINGS, "A=1 B='2 3' A=4", ("A=1", "B=2 3")),
    (kinds.IP_QOS, "af21 cs0", ("af21", "cs0")),
    (kinds.IP_QOS, "0x10", ("0x10", "0x10")),
    (kinds.IP_QOS, "8 none", ("0x08", "none")),
    (kinds.USER_PATTERNS, "ann bob@192.0.2.0/24", ("ann", "bob@192.0.2.0/24")),
    (kinds.LOG_LEVEL, "debug", "DEBUG1"),
]


@pytest.mark.parametrize(("kind", "text", "value"), SAMPLES)
def test_a_value_is_read_and_reads_back(kind: kinds.Kind[Any], text: str, value: object) -> None:
    row = Row("X", kind, value, "")
    assert row.read(line_of(f"X {text}")) == value
    lines = kind.show(value)
    again = [row.read(line_of(f"X {shown}")) for shown in lines]
    joined = again[0] if len(again) == 1 else tuple(one for part in again for one in part)
    assert joined == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (kinds.YES_NO, "maybe"),
        (kinds.YES_NO, "yes no"),
        (kinds.YES_NO, ""),
        (kinds.PORT, "0"),
        (kinds.PORT, "65536"),
        (kinds.PORT, "\u0662"),
        (kinds.PORT, "9" * 5000),
        (kinds.PORT, "22 23"),
        (kinds.octal(0o777), "8"),
        (kinds.octal(0o777), "1000"),
        (kinds.SECONDS, "1x"),
        (kinds.SECONDS, "-1"),
        (kinds.SECONDS, "1h "[:1] + "hh"),
        (kinds.SECONDS, "9999999999w"),
        (kinds.REKEY_LIMIT, "5"),
        (kinds.REKEY_LIMIT, "1Z"),
        (kinds.REKEY_LIMIT, "1G 1h x"),
        (kinds.REKEY_LIMIT, "9999999999E"),
        (kinds.ESCAPE_CHARACTER, "ab"),
        (kinds.ESCAPE_CHARACTER, "^1"),
        (kinds.ESCAPE_CHARACTER, "é"),
        (kinds.PATH_EACH, "a b"),
        (kinds.PATHS, "''"),
        (kinds.WORD, "''"),
        (kinds.COMMA_LIST, "a,,b"),
        (kinds.SETTINGS, "A"),
        (kinds.SETTINGS, "1A=2"),
        (kinds.IP_QOS, "bogus"),
        (kinds.IP_QOS, "256"),
        (kinds.IP_QOS, "010"),
        (kinds.IP_QOS, "ef ef ef"),
        (kinds.USER_PATTERNS, "ann@192.0.2.1/24"),
        (kinds.LOG_LEVEL, "LOUD"),
    ],
)
def test_a_bad_value_is_refused_with_place_and_grammar(kind: kinds.Kind[Any], text: str) -> None:
    with pytest.raises(ConfigError, match="f line 7: X: ") as caught:
        Row("X", kind, None, "").read(line_of(f"X {text}"))
    assert text == "" or caught.value.hint


def test_none_is_no_value() -> None:
    for kind in (kinds.or_none(kinds.SECONDS), kinds.COMMAND):
        row: Row[Any] = Row("X", kind, None, "")
        assert row.read(line_of("X None")) is None
    assert kinds.or_none(kinds.SECONDS).show(None) == ("none",)
    assert kinds.COMMAND.show(None) == ()


def test_traffic_classes_are_bytes() -> None:
    assert kinds.traffic_class("none") is None
    assert kinds.traffic_class("cs0") == 0
    assert kinds.traffic_class("ef") == 0xB8
    assert kinds.traffic_class("af11") == 0x28
    assert kinds.traffic_class("0x10") == 16


def test_an_unknown_keyword_gets_near_spellings() -> None:
    with pytest.raises(ConfigError, match="f line 7: Bad configuration option: Prot") as caught:
        SshConfig.lookup(line_of("Prot 22"))
    assert "Port" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        SshdConfig.lookup(line_of("\x1b[2J 1"))
    assert "\x1b" not in str(caught.value)
    assert caught.value.hint == ""


def test_aliases_lead_to_the_same_row() -> None:
    assert SshConfig.known["keepalive"] is SshConfig.rows["tcp_keep_alive"]
    assert (
        SshdConfig.known["challengeresponseauthentication"]
        is (SshdConfig.rows["kbd_interactive_authentication"])
    )


# Every keyword of OpenSSH 10.5, from its manual pages; Host, Match and Include are structure.
CLIENT_KEYWORDS = """
AddKeysToAgent AddressFamily BatchMode BindAddress BindInterface CanonicalDomains
CanonicalizeFallbackLocal CanonicalizeHostname CanonicalizeMaxDots CanonicalizePermittedCNAMEs
CASignatureAlgorithms CertificateFile ChannelTimeout CheckHostIP Ciphers ClearAllForwardings
Compression ConnectionAttempts ConnectTimeout ControlMaster ControlPath ControlPersist
DynamicForward EnableEscapeCommandline EnableSSHKeysign EscapeChar ExitOnForwardFailure
FingerprintHash ForkAfterAuthentication ForwardAgent ForwardX11 ForwardX11Trusted
ForwardX11Timeout GatewayPorts GlobalKnownHostsFile GSSAPIAuthentication
GSSAPIDelegateCredentials HashKnownHosts HostbasedAcceptedAlgorithms HostbasedAuthentication
HostKeyAlgorithms HostKeyAlias Hostname IdentitiesOnly IdentityAgent IdentityFile IgnoreUnknown
IPQoS KbdInteractiveAuthentication KbdInteractiveDevices KexAlgorithms KnownHostsCommand
LocalCommand LocalForward LogLevel LogVerbose MACs NoHostAuthenticationForLocalhost
NumberOfPasswordPrompts ObscureKeystrokeTiming PasswordAuthentication PermitLocalCommand
PermitRemoteOpen PKCS11Provider Port PreferredAuthentications ProxyCommand ProxyJump
ProxyUseFdpass PubkeyAcceptedAlgorithms PubkeyAuthentication RefuseConnection RekeyLimit
RemoteCommand RemoteForward RequestTTY RequiredRSASize RevokedHostKeys SecurityKeyProvider
SendEnv ServerAliveCountMax ServerAliveInterval SessionType SetEnv StdinNull StreamLocalBindMask
StreamLocalBindUnlink StrictHostKeyChecking SyslogFacility Tag TCPKeepAlive Tunnel TunnelDevice
UpdateHostKeys User UserKnownHostsFile VerifyHostKeyDNS VersionAddendum VisualHostKey
WarnWeakCrypto XAuthLocation
ChallengeResponseAuthentication SKeyAuthentication TISAuthentication DSAAuthentication
IdentityFile2 KeepAlive HostbasedKeyTypes PubkeyAcceptedKeyTypes SmartcardDevice
Cipher FallBackToRsh GlobalKnownHostsFile2 RhostsAuthentication UserKnownHostsFile2 UseRoaming
UseRsh UsePrivilegedPort AFSTokenPassing KerberosAuthentication KerberosTgtPassing
RSAAuthentication RhostsRSAAuthentication CompressionLevel Protocol
"""
SERVER_KEYWORDS = """
AcceptEnv AddressFamily AllowAgentForwarding AllowGroups AllowStreamLocalForwarding
AllowTcpForwarding AllowUsers AuthenticationMethods AuthorizedKeysCommand
AuthorizedKeysCommandUser AuthorizedKeysFile AuthorizedPrincipalsCommand
AuthorizedPrincipalsCommandUser AuthorizedPrincipalsFile Banner CASignatureAlgorithms
ChannelTimeout ChrootDirectory Ciphers ClientAliveCountMax ClientAliveInterval Compression
DenyGroups DenyUsers DisableForwarding ExposeAuthInfo FingerprintHash ForceCommand GatewayPorts
GSSAPIAuthentication GSSAPICleanupCredentials GSSAPIDelegateCredentials GSSAPIStrictAcceptorCheck
HostbasedAcceptedAlgorithms HostbasedAuthentication HostbasedUsesNameFromPacketOnly
HostCertificate HostKey HostKeyAgent HostKeyAlgorithms IgnoreRhosts IgnoreUserKnownHosts IPQoS
KbdInteractiveAuthentication KerberosAuthentication KerberosGetAFSToken KerberosOrLocalPasswd
KerberosTicketCleanup KexAlgorithms ListenAddress LoginGraceTime LogLevel LogVerbose MACs
MaxAuthTries MaxSessions MaxStartups ModuliFile PAMServiceName PasswordAuthentication
PermitEmptyPasswords PermitListen PermitOpen PermitRootLogin PermitTTY PermitTunnel
PermitUserEnvironment PermitUserRC PerSourceMaxStartups PerSourceNetBlockSize PerSourcePenalties
PerSourcePenaltyExemptList PidFile Port PrintLastLog PrintMotd PubkeyAcceptedAlgorithms
PubkeyAuthentication PubkeyAuthOptions RDomain RefuseConnection RekeyLimit RequiredRSASize
RevokedKeys SecurityKeyProvider SetEnv SshdAuthPath SshdSessionPath StreamLocalBindMask
StreamLocalBindUnlink StrictModes Subsystem SyslogFacility TCPKeepAlive TrustedUserCAKeys
UnusedConnectionTimeout UseDNS UsePAM VersionAddendum X11DisplayOffset X11Forwarding
X11UseLocalhost XAuthLocation
ServerKeyBits KeyRegenerationInterval RHostsAuthentication RhostsRSAAuthentication
RSAAuthentication CheckMail UseLogin VerifyReverseMapping ReverseMappingCheck AuthorizedKeysFile2
UsePrivilegeSeparation KerberosTgtPassing AFSTokenPassing HostDSAKey HostBasedAcceptedKeyTypes
PubkeyAcceptedKeyTypes DSAAuthentication ChallengeResponseAuthentication SKeyAuthentication
KeepAlive Protocol
"""


@pytest.mark.parametrize(
    ("table", "names"), [(SshConfig, CLIENT_KEYWORDS), (SshdConfig, SERVER_KEYWORDS)]
)
def test_every_keyword_of_openssh_is_known_by_name(table: type[KeywordFile], names: str) -> None:
    assert {name.lower() for name in names.split()} <= table.known.keys()
    kinds_of_rows = {type(found) for found in table.known.values()}
    assert kinds_of_rows == {Row, Retired}


def test_the_manual_has_a_paragraph_for_every_row() -> None:
    for table in TABLES:
        paragraphs = list(table.manual())
        assert len(paragraphs) == len(table.rows)
    text = "\n".join(SshConfig.manual())
    assert "Port (1-65535; default 22): The port to connect to." in text
    assert "IdentityFile (path or none; default ~/.ssh/id_rsa" in text
    assert "may be given several times; tokens %% %C" in text
    assert "${NAME} ~" in text
    assert "allowed in Match" in "\n".join(SshdConfig.manual())


class Small(KeywordFile):
    """A table of two."""

    number: int = keyword("Number", kinds.integer(0, 9), default=1, doc="A number.")
    names: tuple[str, ...] = keyword(
        "Names", kinds.PATTERNS, default=("x",), merge=append, doc="Names."
    )


def test_a_table_is_also_its_values() -> None:
    assert (Small.number, Small().number, Small(number=2).number) == (1, 1, 2)
    made = Small(number=2)
    assert made.is_set("number")
    assert not made.is_set("names")
    assert made.origin("number") == ("", 0)
    assert made.values() == {"number": 2, "names": ("x",)}
    assert made.replaced(number=3) == Small(number=3) != made
    assert list(made.dump()) == ["number 2", "names x"]
    with pytest.raises(TypeError, match="has no count"):
        Small(count=1)  # type: ignore[call-arg]
