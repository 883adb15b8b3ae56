# SPDX-License-Identifier: MIT
"""sshd_config: what a server does, for whom, and what it refuses to promise."""

import subprocess
from pathlib import Path

import pytest
from tests.config.paper_machine import PaperMachine
from tests.interop.servers import find
from tests.work import work

from tellin.config import grammar, patterns
from tellin.config.sshd_config import SshdConfig
from tellin.config.sshd_reading import Condition, Peer, SshdSettings, read_sshd_config
from tellin.errors import ConfigError

FILE = "/etc/ssh/sshd_config"


def read(text: str, *options: str, **files: str) -> SshdSettings:
    others = {f"/etc/ssh/{name}": content for name, content in files.items()}
    return read_sshd_config(PaperMachine({FILE: text, **others}), options=options)


def test_options_come_first_and_the_first_value_wins() -> None:
    always = read("MaxAuthTries 2\nMaxAuthTries 3\nPort 1\nPort 2", "MaxAuthTries=1").always
    assert always.max_auth_tries == 1
    assert always.port == (1, 2)
    assert always.origin("max_auth_tries") == ("command-line", 0)
    assert always.origin("port") == (FILE, 3)


def test_an_empty_file_is_the_defaults() -> None:
    assert read("").always == SshdConfig()
    assert read_sshd_config(PaperMachine({}), file="none").always == SshdConfig()
    with pytest.raises(ConfigError, match=f"^{FILE}: no such file"):
        read_sshd_config(PaperMachine({}))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", (("", 22),)),
        ("Port 1\nPort 2", (("", 1), ("", 2))),
        ("ListenAddress 192.0.2.1\nPort 1\nPort 2", (("192.0.2.1", 1), ("192.0.2.1", 2))),
        ("ListenAddress 192.0.2.1:5", (("192.0.2.1", 5),)),
        ("ListenAddress [::1]:5\nListenAddress ::1\nListenAddress [::2]",
         (("::1", 5), ("::1", 22), ("::2", 22))),
        ("ListenAddress name:0", (("name", 0),)),
        ("ListenAddress a\nListenAddress a", (("a", 22),)),
    ],
)  # fmt: skip
def test_where_to_listen(text: str, wanted: tuple[tuple[str, int], ...]) -> None:
    assert read(text).always.endpoints() == wanted


@pytest.mark.parametrize(
    "line",
    [
        "ListenAddress a:b",
        "ListenAddress [::1",
        "ListenAddress a:99999",
        "ListenAddress a rdomain x",
        "MaxStartups 10:30",
        "MaxStartups 10:101:100",
        "MaxStartups 30:30:10",
        "MaxStartups x",
        "PermitRootLogin maybe",
        "Subsystem sftp",
        "Subsystem",
        "AuthenticationMethods hostbased",
        "AuthenticationMethods password,password",
        "AuthenticationMethods publickey,,password",
        "AuthenticationMethods any publickey",
        "AllowUsers a@192.0.2.1/24",
        "HostKey a b",
        "Include ~/x",
        "Include",
        "Prot 22",
        "Port 22 # a\0b",
        "UsePAM yes",
        "TrustedUserCAKeys /etc/ca.pub /etc/more.pub",
        "RevokedKeys ''",
        "PermitTunnel tap",
        "MaxAuthTries " + "9" * 9000,
    ],
)
def test_what_is_wrong_or_missing_is_refused_with_its_place(line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{FILE} line 2: ") as caught:
        read(f"# a comment\n{line}")
    assert (caught.value.file, caught.value.line) == (FILE, 2)


def test_the_file_that_debian_brings_is_taken_but_for_pam() -> None:
    text = (
        "Include /etc/ssh/sshd_config.d/*.conf\nKbdInteractiveAuthentication no\n{}X11Forwarding yes\n"
        "PrintMotd no\nAcceptEnv LANG LC_*\nSubsystem\tsftp\t/usr/lib/openssh/sftp-server\n"
    )
    with pytest.raises(ConfigError, match="line 3: UsePAM"):
        read(text.format("UsePAM yes\n"))
    config = read(text.format("")).always
    assert config.x11_forwarding
    assert (config.x11_display_offset, config.x11_use_localhost) == (10, True)


WAITS = [row for row in SshdConfig.rows.values() if row.later is not None]


@pytest.mark.parametrize("row", WAITS, ids=lambda row: row.spelling)
def test_a_missing_feature_may_be_off_and_nothing_else(row) -> None:  # type: ignore[no-untyped-def]
    for value in (row.default, *(row.later.harmless or ())):
        for text in row.shown(value):
            read(f"{row.spelling} {text}")
    asked = {"UsePAM": "yes"}
    if row.spelling in asked:
        with pytest.raises(ConfigError, match=f"{row.spelling} is not supported"):
            read(f"{row.spelling} {asked[row.spelling]}")


@pytest.mark.parametrize(
    "line",
    [
        "AuthenticationMethods publickey:pam",
        "AuthenticationMethods keyboard-interactive:",
        "AuthorizedKeysFile /k/%q",
        "AuthorizedKeysFile .ssh/a /k/%",
        "AuthorizedPrincipalsFile /p/%k",
        "AuthorizedKeysCommand /c %F",
        "AuthorizedKeysCommand c %u",
        "AuthorizedPrincipalsCommand /c %z",
    ],
)
@pytest.mark.parametrize("block", ["", "Match user ann\n"])
def test_r115_case_325_what_would_fail_at_every_login_is_refused_at_once(
    line: str, block: str
) -> None:
    with pytest.raises(
        ConfigError, match=f"^{FILE} line {1 + bool(block)}: {line.split(maxsplit=1)[0]}: "
    ):
        read(f"{block}{line}")


def test_a_misspelling_gets_an_answer() -> None:
    with pytest.raises(ConfigError, match="Bad configuration option: PermitRootlogon") as caught:
        read("PermitRootlogon no")
    assert "PermitRootLogin" in caught.value.hint


def test_a_deprecated_keyword_is_named_and_ignored() -> None:
    assert read("UseLogin no\nProtocol 2").warnings == (
        f"{FILE} line 1: Deprecated option UseLogin is ignored",
    )


def test_an_over_long_line_is_refused_because_it_may_forbid_something() -> None:
    with pytest.raises(ConfigError, match="an over-long line"):
        read("DenyUsers " + "x" * 9000)


# --- Match ---------------------------------------------------------------------------------------

ANN = Peer(
    user="ann",
    groups=("ann", "wheel"),
    host="Host.Example",
    address="192.0.2.7",
    local_address="2001:db8::1",
    local_port=2222,
    version="OpenSSH_10.5",
    routing_domain="blue",
)


@pytest.mark.parametrize(
    ("criteria", "holds"),
    [
        ("all", True),
        ("user ann", True),
        ("user=ann", True),
        ("User a*,!ann", False),
        ("!user bob", True),
        ("user bob", False),
        ("group wheel", True),
        ("group *,!wheel", False),
        ("host *.example", True),
        ("host 192.0.2.7", False),
        ("address 192.0.2.0/24", True),
        ("address 198.51.100.0/24,192.0.2.*", True),
        ("address 0.0.0.0/0,!192.0.2.7", False),
        ("localaddress 2001:db8::/32", True),
        ("localport 2222", True),
        ("localport 22,!2*", False),
        ("version OpenSSH_*", True),
        ("rdomain blue", True),
        ("rdomain !blue,*", False),
        ("invalid-user", False),
        ("!invalid-user", True),
        ("user ann address 192.0.2.7 localport 2222", True),
        ("user ann address 192.0.2.8", False),
    ],
)
def test_match_criteria(criteria: str, holds: bool) -> None:
    settings = read(f"MaxSessions 1\nMatch {criteria}\n  MaxSessions 2\n")
    assert settings.for_peer(ANN).max_sessions == (2 if holds else 1)
    assert settings.always.max_sessions == 1


def test_blocks_by_name_and_by_pattern_hold_in_the_order_of_the_file() -> None:
    lines = [
        "Match user ann\nMaxSessions 1",
        "Match user a*\nMaxSessions 2\nMaxAuthTries 2",
        "Match group staff,wheel address 192.0.2.0/24\nMaxAuthTries 3\nBanner /3",
        "Match user bob,ann,ann\nBanner /4\nAcceptEnv A",
        "Match address 192.0.2.7\nAcceptEnv B\nPermitTTY no",
        "Match group ann user bob\nPermitUserRC no",
    ]
    for order in (lines, lines[::-1]):
        settings = read("\n".join(order))
        ann = settings.for_peer(ANN)
        first = order is lines
        assert ann.max_sessions == (1 if first else 2)
        assert ann.max_auth_tries == (2 if first else 3)
        assert ann.banner == ("/3" if first else "/4")
        assert ann.accept_env == (("A", "B") if first else ("B", "A"))
        assert (ann.permit_tty, ann.permit_user_rc) == (False, True)
        bob = settings.for_peer(Peer(user="bob"))
        assert (bob.max_sessions, bob.banner, bob.accept_env) == (10, "/4", ("A",))


def test_a_connection_without_a_routing_domain_has_an_empty_one() -> None:
    settings = read("Match rdomain *\nMaxSessions 1")
    assert settings.for_peer(Peer()).max_sessions == 10
    assert settings.for_peer(Peer(routing_domain="")).max_sessions == 1


def test_whoever_does_not_exist_need_not_be_named() -> None:
    settings = read("Match invalid-user\nMaxSessions 1")
    assert settings.for_peer(Peer(invalid_user=True)).max_sessions == 1
    assert settings.for_peer(Peer(user="ann")).max_sessions == 10


@pytest.mark.parametrize("criterion", ["user *", "group *", "host *", "address *", "rdomain *",
                                       "localaddress *", "localport *", "version *"])  # fmt: skip
@pytest.mark.parametrize("negation", ["", "!"])
def test_nothing_is_said_of_what_is_not_known_yet(criterion: str, negation: str) -> None:
    settings = read(f"Match {negation}{criterion}\n  MaxSessions 2\n")
    assert settings.for_peer(Peer()).max_sessions == 10


@pytest.mark.parametrize(
    "criteria",
    ["", "bogus x", "user", "user ''", "all user x", "user x all", "address 192.0.2.1/24",
     "localaddress x/y", "localport ssh", "localport 22,", "invalid-user=x"],
)  # fmt: skip
def test_a_bad_match_is_refused(criteria: str) -> None:
    with pytest.raises(ConfigError, match=f"^{FILE} line 1: Match: "):
        read(f"Match {criteria}\n")


def test_the_first_block_that_holds_wins_and_beats_what_stands_outside() -> None:
    settings = read(
        "PasswordAuthentication no\nMatch user ann\nPasswordAuthentication yes\nBanner /a\n"
        "Match address 192.0.2.0/24\nPasswordAuthentication no\nBanner /b\nForceCommand date -u\n"
        "Match user bob\nPermitTTY no\n"
    )
    ann = settings.for_peer(ANN)
    assert (ann.password_authentication, ann.banner) == (True, "/a")
    assert (ann.force_command, ann.permit_tty) == ("date -u", True)
    assert ann.origin("banner") == (FILE, 4)
    assert not settings.always.password_authentication


def test_what_accumulates_does_so_among_blocks_and_replaces_what_stands_outside() -> None:
    settings = read(
        "AllowUsers root\nAcceptEnv A\nSubsystem sftp /a\nMatch user ann\nAllowUsers ann\n"
        "Subsystem sftp /b -x\nMatch all\nAllowUsers x y\nSubsystem sftp /c\nSubsystem t /t"
    )
    ann = settings.for_peer(ANN)
    assert ann.allow_users == ("ann", "x", "y")
    assert ann.accept_env == ("A",)
    assert ann.subsystem == (("sftp", "/b -x"), ("t", "/t"))
    assert settings.always.allow_users == ("root",)


def test_a_subsystem_named_twice_in_one_place_is_noted() -> None:
    settings = read("Subsystem sftp /a\nSubsystem sftp /b")
    assert settings.always.subsystem == (("sftp", "/a"),)
    assert settings.warnings == (
        f"{FILE} line 2: Subsystem 'sftp' is defined already: this is ignored",
    )


def test_r112_all_arguments_of_a_subsystem_stay() -> None:
    # Twelve arguments, the one that makes it read-only last.
    command = "internal-sftp " + " ".join(f"-f{n}" for n in range(11)) + " -R"
    settings = read(f"Subsystem sftp {command} # a comment\nForceCommand {command}")
    assert settings.always.subsystem == (("sftp", command),)
    assert settings.always.force_command == command


@pytest.mark.parametrize(
    "row", [row for row in SshdConfig.rows.values() if not row.in_match], ids=lambda r: r.spelling
)
def test_what_holds_for_everybody_cannot_stand_in_a_block(row) -> None:  # type: ignore[no-untyped-def]
    (text, *_) = row.kind.show(row.default) or ("x",)
    with pytest.raises(ConfigError, match="is not allowed within a Match block"):
        read(f"Match all\n{row.spelling} {text}")


SPECIAL = {
    "MaxAuthTries": "1", "MaxSessions": "1", "PermitRootLogin": "no",
    "AuthenticationMethods": "publickey,password", "AuthorizedKeysFile": "/k/%u",
    "PubkeyAuthentication": "no", "PasswordAuthentication": "no", "PermitEmptyPasswords": "yes",
    "KbdInteractiveAuthentication": "no", "AllowUsers": "a", "DenyUsers": "a", "AllowGroups": "a",
    "DenyGroups": "a", "PubkeyAcceptedAlgorithms": "ssh-ed25519", "RekeyLimit": "1G 1h",
    "ClientAliveCountMax": "0", "ClientAliveInterval": "5", "Subsystem": "a b",
    "ForceCommand": "x", "PermitTTY": "no", "AcceptEnv": "X", "SetEnv": "A=1", "Banner": "/b",
    "TrustedUserCAKeys": "/ca", "AuthorizedPrincipalsFile": "/p/%u",
    "AuthorizedPrincipalsCommand": "/c %i", "AuthorizedPrincipalsCommandUser": "a",
    "AuthorizedKeysCommand": "/c %k", "AuthorizedKeysCommandUser": "a", "RevokedKeys": "/r /s",
    "CASignatureAlgorithms": "ssh-ed25519", "LogLevel": "QUIET", "DisableForwarding": "yes", "IPQoS": "none",
    "AllowAgentForwarding": "no", "AllowStreamLocalForwarding": "no", "AllowTcpForwarding": "no",
    "HostbasedAcceptedAlgorithms": "ssh-ed25519", "HostbasedUsesNameFromPacketOnly": "yes",
    "IgnoreRhosts": "no", "PAMServiceName": "x", "PermitListen": "none", "PermitOpen": "none",
    "PermitUserRC": "no", "StreamLocalBindMask": "0111", "StreamLocalBindUnlink": "yes",
    "PubkeyAuthOptions": "touch-required", "RefuseConnection": "yes", "RequiredRSASize": "3072",
    "X11DisplayOffset": "9", "X11UseLocalhost": "no", "X11Forwarding": "yes", "GatewayPorts": "clientspecified",
    "ExposeAuthInfo": "yes", "LogVerbose": "*", "ChannelTimeout": "session=5m", "UnusedConnectionTimeout": "1h",
    "ChrootDirectory": "/x/%u", "PermitTunnel": "point-to-point",
}  # fmt: skip
# Of these no value but the default is taken yet.
WAITING = {
    "GSSAPIAuthentication",
    "HostbasedAuthentication", "KerberosAuthentication",
    "RDomain",
}  # fmt: skip


def test_every_keyword_that_may_stand_in_a_block_counts_there() -> None:
    # R113, as far as this room goes.
    rows = {row.spelling: row for row in SshdConfig.rows.values() if row.in_match}
    assert rows.keys() == SPECIAL.keys() | WAITING
    for spelling in WAITING:
        later = rows[spelling].later
        assert later is not None
        assert {*(later.harmless or ())} <= {rows[spelling].default}
    for spelling, text in SPECIAL.items():
        settings = read(f"Match user ann\n{spelling} {text}")
        name = rows[spelling].attribute
        assert getattr(settings.for_peer(ANN), name) != getattr(settings.always, name)


def test_ports_of_the_command_line_are_the_only_ones() -> None:
    machine = PaperMachine({FILE: "Port 22\nListenAddress ::1\nListenAddress 192.0.2.1:24\n"})
    options = ("Port=26",)
    config = read_sshd_config(machine, file=FILE, options=options, ports=[2022, 2023]).always
    assert config.port == (2022, 2023)
    # sshd_config(5): an address that names its port keeps it.
    assert config.endpoints() == (("::1", 2022), ("::1", 2023), ("192.0.2.1", 24))
    assert read_sshd_config(machine, file=FILE, options=options).always.port == (26, 22)
    # What is left aside is read all the same (R111).
    with pytest.raises(ConfigError, match="line 1: Port: '65536' is not a number"):
        read_sshd_config(PaperMachine({FILE: "Port 65536\n"}), file=FILE, ports=[2022])


# What update-crypto-policies of Fedora writes for servers, of which all lines hold but Kerberos'
# exchanges; 50-redhat.conf, which includes it, names the log; then what else Debian's sshd knows.
DISTRIBUTED = """
Ciphers aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr
MACs hmac-sha2-256-etm@openssh.com,hmac-sha2-256
GSSAPIKeyExchange no
GSSAPIKexAlgorithms gss-curve25519-sha256-,gss-nistp256-sha256-
KexAlgorithms curve25519-sha256,ecdh-sha2-nistp256
HostKeyAlgorithms ecdsa-sha2-nistp256,ssh-ed25519,rsa-sha2-256
PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256,ssh-ed25519,rsa-sha2-256
HostbasedAcceptedAlgorithms ecdsa-sha2-nistp256,ssh-ed25519,rsa-sha2-256
CASignatureAlgorithms ecdsa-sha2-nistp256,ssh-ed25519,rsa-sha2-256
RequiredRSASize 2048
SyslogFacility AUTHPRIV
GSSAPIStoreCredentialsOnRekey no
DebianBanner no
"""


def test_what_distributions_add_to_openssh_ends_no_start() -> None:
    found = read(DISTRIBUTED)
    assert found.warnings == ()
    assert (found.always.required_rsa_size, found.always.syslog_facility) == (2048, "AUTHPRIV")
    with pytest.raises(ConfigError, match="Bad configuration option: GSSAPIKeyExchanges"):
        read("GSSAPIKeyExchanges no")


# --- Ten thousand blocks -------------------------------------------------------------------------

BLOCKS = {
    "users": "Match User user{n}\n  PasswordAuthentication no\n",
    "groups": "Match Group group{n},staff{n}\n  SetEnv NUMBER={n}\n",
    "addresses": "Match Address 10.{high}.{low}.0/24\n  PermitTTY no\n",
    "patterns": "Match User u{n}*\n  ForceCommand echo {n}\n",
    "subsystems": "Match User user{n}\n  Subsystem sftp /bin/cat {n}\n",
    "algorithms": "Match User user{n}\n  PubkeyAcceptedAlgorithms ssh-ed25519\n",
}


def many(kind: str) -> str:
    return "".join(BLOCKS[kind].format(n=n, high=n >> 8, low=n & 255) for n in range(10_000))


@pytest.mark.parametrize("kind", BLOCKS)
def test_twenty_thousand_lines_of_blocks_cost_little_a_line(kind: str) -> None:
    """Half a second is promised; fifty calls a line are a quarter of one."""
    text = many(kind)
    assert work(lambda: read(text)) < 50 * text.count("\n")


@pytest.mark.parametrize(("kind", "judged"), [("users", 1), ("groups", 1), ("addresses", 10_000)])
def test_a_login_reads_no_text_again_and_judges_only_the_blocks_that_can_be_meant(
    monkeypatch: pytest.MonkeyPatch, kind: str, judged: int
) -> None:
    settings = read(many(kind))
    asked: list[Condition] = []
    holds = Condition.holds

    def counted(condition: Condition, peer: Peer) -> bool:
        asked.append(condition)
        return holds(condition, peer)

    def reread(*_: object) -> None:
        raise AssertionError("a login reads what was read")

    monkeypatch.setattr(Condition, "holds", counted)
    for room, name in ((grammar, "read_line"), (grammar, "split_words"), (patterns, "_network")):
        monkeypatch.setattr(room, name, reread)
    found = settings.for_peer(Peer(user="user77", groups=("staff77",), address="10.0.77.1"))
    assert len(asked) == judged
    assert found != settings.always


@pytest.mark.parametrize("kind", ["users", "groups", "addresses", "patterns"])
def test_ten_thousand_blocks_cost_a_login_little(kind: str) -> None:
    settings = read(many(kind))
    peer = Peer(user="user77", groups=("staff77",), address="10.0.77.1")
    cost = work(lambda: settings.for_peer(peer))
    assert cost < (100 if kind in {"users", "groups"} else 10_000 * 25)


# --- Include -------------------------------------------------------------------------------------


def test_an_earlier_include_wins_and_its_blocks_end_with_it() -> None:
    settings = read(
        "Include d/*.conf\nPermitRootLogin yes\nMaxSessions 7",
        **{"d/1.conf": "PermitRootLogin no\nMatch user ann\nMaxSessions 1",
           "d/2.conf": "MaxAuthTries 2\nBanner /b"},
    )  # fmt: skip
    assert settings.always.permit_root_login == "no"
    assert settings.always.max_auth_tries == 2
    assert settings.always.max_sessions == 7
    assert settings.for_peer(ANN).max_sessions == 1


def test_an_include_in_a_block_counts_for_it_alone() -> None:
    settings = read(
        "Match user ann\nInclude inner\nPermitTTY no",
        inner="MaxSessions 1\nMatch address 10.0.0.0/8\nMaxAuthTries 1",
    )
    assert settings.always.max_sessions == 10
    ann = settings.for_peer(ANN)
    assert (ann.max_sessions, ann.max_auth_tries, ann.permit_tty) == (1, 6, False)
    assert settings.for_peer(Peer(user="ann", address="10.0.0.1")).max_auth_tries == 1
    assert settings.for_peer(Peer(user="bob", address="10.0.0.1")).max_auth_tries == 6
    with pytest.raises(ConfigError, match="not allowed within a Match block"):
        read("Match user ann\nInclude inner", inner="Port 1")


def test_an_include_loop_ends() -> None:
    with pytest.raises(ConfigError, match="include one another"):
        read("Include sshd_config")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_sshd_config(PaperMachine({FILE: "Include x", "/etc/ssh/x": None}))


@pytest.mark.parametrize("option", ["Match all", "Include x", "Bogus x", "", "UsePAM yes"])
def test_a_bad_option_is_refused(option: str) -> None:
    with pytest.raises(ConfigError):
        read("", option)


# --- the dump ------------------------------------------------------------------------------------

LINES = [
    *(f"{spelling} {text}" for spelling, text in SPECIAL.items()),
    "Port 1\nPort 2", "ListenAddress [::1]:5\nListenAddress a", "AddressFamily inet",
    "HostKey '/a b'", "PidFile none", "LoginGraceTime 1m", "MaxStartups 5", "StrictModes no",
    "Ciphers aes128-ctr", "MACs +hmac-md5", "KexAlgorithms ^curve25519-sha256",
    "HostKeyAlgorithms -*nistp*", "SecurityProfile strict", "Compression no", "TCPKeepAlive no",
    "PrintMotd no", "PrintLastLog no", "ModuliFile /m", "UseDNS yes", "VersionAddendum a b",
    "AuthorizedKeysFile none", "AuthenticationMethods publickey,publickey password",
]  # fmt: skip


@pytest.mark.parametrize("text", LINES)
def test_a_dump_reads_back_to_itself(text: str) -> None:
    first = read(text).always
    assert first != SshdConfig()
    dumped = list(first.dump())
    again = read("\n".join(dumped)).always
    assert again == first
    assert list(again.dump()) == dumped


SHARED = [
    "addressfamily", "strictmodes", "maxauthtries", "maxsessions", "clientaliveinterval",
    "clientalivecountmax", "permitrootlogin", "pubkeyauthentication", "passwordauthentication",
    "permitemptypasswords", "printmotd", "printlastlog", "permittty", "tcpkeepalive", "usedns",
    "loglevel", "banner", "forcecommand", "authorizedkeysfile", "authenticationmethods",
    "rekeylimit", "maxstartups", "logingracetime", "pidfile", "allowusers", "denygroups",
    "acceptenv", "setenv", "subsystem", "kbdinteractiveauthentication",
]  # fmt: skip


@pytest.mark.peer("openssh", "sshd")
@pytest.mark.parametrize(
    ("user", "address"), [("root", "192.0.2.7"), ("nobody", "198.51.100.1"), ("root", "::1")]
)
def test_openssh_reads_the_same_values(tmp_path: Path, user: str, address: str) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    text = (
        f"HostKey {key}\nPort 2222\nMaxStartups 5\nPidFile none\nUseDNS yes\n"
        "AuthenticationMethods publickey,password publickey\nRekeyLimit 1G 1h\n"
        "Match user root,!bin address 192.0.2.0/24\n  PasswordAuthentication no\n"
        '  ForceCommand echo "a  b" # c\n  AllowUsers root x\n  Banner /a\n'
        "Match address ::1\n  MaxSessions 3\n  AcceptEnv A B\n"
        "Match all\n  Banner /b\n  DenyGroups evil\n  PermitRootLogin without-password\n"
        "  ClientAliveInterval 1m\n  SetEnv A=1 B=2\n  AcceptEnv C\n"
    )
    file = tmp_path / "config"
    file.write_text(text)
    where = f"user={user},host=h.example,addr={address},laddr=127.0.0.1,lport=2222"
    theirs = subprocess.run(
        [find("sshd"), "-T", "-f", file, "-C", where],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    peer = Peer(user=user, groups=(user,), host="h.example", address=address,
                local_address="127.0.0.1", local_port=2222)  # fmt: skip
    ours = list(read(text).for_peer(peer).dump())
    for name in SHARED:
        wanted = " ".join(line for line in theirs if line.split()[0] == name)
        found = " ".join(line for line in ours if line.split()[0] == name)
        # OpenSSH gives each value of SetEnv a line, names one value in an older way, and has a
        # word for what is not there.
        wanted = wanted.replace("setenv B=2", "B=2")
        assert found == ("" if wanted == f"{name} none" != found else wanted)


@pytest.mark.parametrize("names", ["A=b", "LANG yes = yes", '"="'])
def test_a_variable_to_accept_is_a_name(names: str) -> None:
    with pytest.raises(ConfigError, match=r"line 1: AcceptEnv: .* is no name of a variable"):
        read(f"AcceptEnv {names}\n")
