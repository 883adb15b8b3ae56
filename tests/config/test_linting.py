# SPDX-License-Identifier: MIT
"""What is said of configurations: that every finding is true, and that what is in order is left alone."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.config.drawing import (
    CLIENT_CRITERIA,
    CLIENT_VALUES,
    SERVER_CRITERIA,
    SERVER_VALUES,
    Drawn,
    config_files,
)
from tests.config.paper_machine import SYSTEM, USER, PaperMachine, paper

from tellin.config.keywords import KeywordFile
from tellin.config.linting import (
    Finding,
    Kind,
    Report,
    Severity,
    Verdict,
    lint_ssh_config,
    lint_sshd_config,
)
from tellin.config.linting.coverage import list_covers
from tellin.config.linting.files import CLIENT_DEMANDS, SERVER_DEMANDS
from tellin.config.linting.idle import CLIENT_IDLE, SERVER_IDLE, Idle
from tellin.config.linting.weak import CLIENT_WEAKNESSES, SERVER_WEAKNESSES
from tellin.config.patterns import match_pattern_list
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import read_ssh_config
from tellin.config.sshd_config import SshdConfig
from tellin.config.sshd_reading import Peer, read_sshd_config
from tellin.config.surroundings import FileStatus
from tellin.errors import ConfigError
from tellin.runtime.surroundings import LocalSurroundings

SERVER = "/etc/ssh/sshd_config"


def client(text: str) -> tuple[Finding, ...]:
    """What is found in a user's file, but for features that are still to come."""
    found = lint_ssh_config(paper(text)).findings
    return tuple(one for one in found if one.kind is not Kind.UNSUPPORTED)


def server(text: str) -> tuple[Finding, ...]:
    found = lint_sshd_config(PaperMachine({SERVER: text})).findings
    return tuple(one for one in found if one.kind is not Kind.UNSUPPORTED)


def brief(found: Sequence[Finding]) -> list[tuple[int, str]]:
    return [(one.line, one.kind.value) for one in found]


# --- one file a finding --------------------------------------------------------------------------

# The file, the line that is found, its kind, and words of the sentence.
CLIENT_FINDINGS = {
    "a catch-all that stands first": (
        "Host *\n  Port 22\nHost web\n  Port 2222\n", 4, "shadowed", "line 2 (Host *) says Port 22"
    ),
    "a keyword twice in one block": ("Host a\n  User x\n  User y\n", 3, "shadowed", "says User x"),
    "the same line twice": ("User x\nUser x\n", 2, "repeated", "says again what"),
    "a wider pattern before a narrower": (
        "Host *.example\n  Port 1\nHost web.example\n  Port 2\n", 4, "shadowed", "Host *.example"
    ),
    "a list that holds another": (
        "Host a b c\n  Port 1\nHost b a\n  Port 2\n", 4, "shadowed", "Host a b c"
    ),
    "Match all before a Host": ("Match all\n  Port 1\nHost a\n  Port 2\n", 4, "shadowed", "Match all"),
    "one Match asks less than the next": (
        "Match originalhost a\n  Port 1\nMatch localuser me originalhost a\n  Port 2\n",
        4, "shadowed", "Match originalhost a",
    ),
    "a value for the second pass": (
        "Match final host a\n  Port 1\nHost *\n  Port 2\n", 2, "shadowed", "line 4 (Host *)"
    ),
    "a command beside a jump": (
        "ProxyJump none\nHost a\n  ProxyCommand none\nHost *\n  ProxyJump j\n",
        5, "shadowed", "says ProxyJump none",
    ),
    "a jump behind a command": ("ProxyCommand nc %h %p\nProxyJump j\n", 2, "shadowed", "ProxyCommand nc"),
    "a Host line of negations": ("Host !a\n  Port 1\n", 1, "never", "a negation alone fits nothing"),
    "a Host line that takes back what it gives": ("Host a !a*\n  Port 1\n", 1, "never", "leaves out every"),
    "a criterion of negations": ("Match localuser !a\n  Port 1\n", 1, "never", "a negation alone"),
    "two hosts at once": ("Match host a host b\n  Port 1\n", 1, "never", "exclude each other"),
    "one thing and not the same": ("Match final !final\n  Port 1\n", 1, "never", "exclude each other"),
    "a pass that there is not": ("Match canonical\n  Port 1\n", 1, "never", "second pass"),
    "a block in an Include of another block": (
        "Host a\n  Include inner\n", 1, "never", "excludes what the block around it"
    ),
    "a keyword that nobody knows": ("Port 22\nProt 22\n", 2, "mistake", "Bad configuration option: Prot"),
    "a value that cannot be": ("Port 0\n", 1, "mistake", "Port: '0' is not a number"),
    "a line without a keyword": ("Port 22\n= x\n", 2, "mistake", "no keyword"),
    "an open quote": ('User "x\n', 1, "mistake", "a quote is not closed"),
    "a criterion that nobody knows": ("Match hots a\n", 1, "mistake", "unknown criterion 'hots'"),
    "a name of a cipher that nobody knows": ("Ciphers aes128-crt\n", 1, "mistake", "unknown cipher"),
    "a key named twice": ("IdentityFile /a.pub\nIdentityFile /a.pub\n", 2, "repeated", "adds nothing"),
    "no key beside a key": ("IdentityFile none\nHost a\n  IdentityFile /a.pub\n", 1, "idle", "takes nothing away"),
    "a keyword of old": ("UseRsh no\n", 1, "remark", "Deprecated option UseRsh is ignored"),
    "an Include that depends on the destination": ("Include %h.conf\n", 1, "remark", "destination"),
    "weak ciphers": ("Ciphers +3des-cbc\n", 1, "weak", "3des-cbc has blocks of 64 bits"),
    "chained ciphers": ("Ciphers +aes128-cbc\n", 1, "weak", "aes128-cbc is chained"),
    "a MAC by SHA-1": ("MACs hmac-sha2-256,hmac-sha1\n", 1, "weak", "hmac-sha1 is by SHA-1"),
    "an exchange by SHA-1": ("KexAlgorithms ^*group14-sha1\n", 1, "weak", "diffie-hellman-group14-sha1"),
    "signatures by SHA-1": ("HostKeyAlgorithms +ssh-rsa\n", 1, "weak", "ssh-rsa signs by SHA-1"),
    "authorities by SHA-1": ("CASignatureAlgorithms ssh-rsa\n", 1, "weak", "ssh-rsa signs by SHA-1"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLIENT_FINDINGS)
def test_a_client_is_told_of(name: str) -> None:
    text, line, kind, words = CLIENT_FINDINGS[name]
    inner = "/home/me/.ssh/inner"
    machine = PaperMachine({USER: text, inner: "Host b\n  Port 1\n"})
    machine.statuses = {"/a.pub": FileStatus(1000, 0o644)}
    report = lint_ssh_config(machine)
    found = [one for one in report.findings if one.kind is not Kind.UNSUPPORTED]
    assert [(one.line, one.kind.value) for one in found] == [(line, kind)]
    assert words in found[0].sentence
    assert found[0].file == (inner if "Include inner" in text else USER)
    assert str(found[0]).startswith(f"{found[0].file} line {line}: {found[0].severity.value}: ")


SERVER_FINDINGS = {
    "a keyword twice": ("MaxSessions 1\nMaxSessions 2\n", 2, "shadowed", "says MaxSessions 1"),
    "Match blocks that repeat": (
        "Match User a\n  MaxSessions 1\nMatch User a\n  MaxSessions 2\n", 4, "shadowed", "Match User a"
    ),
    "a wider list before": (
        "Match User a,b\n  MaxSessions 1\nMatch User b\n  MaxSessions 2\n", 4, "shadowed", "User a,b"
    ),
    "a wider network before": (
        "Match Address 10.0.0.0/8\nMaxSessions 1\nMatch Address 10.1.0.0/16,10.2.0.1\nMaxSessions 2\n", 4, "shadowed", "Address 10.0.0.0/8",
    ),
    "Match all over what stands above it": (
        "MaxSessions 1\nMatch All\n  MaxSessions 2\n", 1, "shadowed", "line 3 (Match All)"
    ),
    "what no block may say": ("Match All\n  Port 22\n", 2, "mistake", "not allowed within a Match"),
    "two users at once": ("Match User a User b\n  MaxSessions 1\n", 1, "never", "exclude each other"),
    "a user and not that user": ("Match User a !User *\n  MaxSessions 1\n", 1, "never", "exclude"),
    "a criterion of negations": ("Match User !a\n  MaxSessions 1\n", 1, "never", "a negation alone"),
    "an address in no network": (
        "Match Address 192.0.2.1 Address 10.0.0.0/8\n  MaxSessions 1\n", 1, "never", "exclude"
    ),
    "a keyword that nobody knows": ("PermitRoot no\n", 1, "mistake", "Bad configuration option"),
    "a name that nobody knows": ("MACs hmac-sha3\n", 1, "mistake", "unknown MAC"),
    "a name in a block": (
        "Match User a\n  PubkeyAcceptedAlgorithms ssh-ed2551\n", 2, "mistake", "ssh-ed2551"
    ),
    "what OpenSSH alone still has": ("HostKeyAlgorithms +ssh-dss\n", 1, "mistake", "unknown key algorithm"),
    "a port that cannot be": ("Match LocalPort x\n  MaxSessions 1\n", 1, "mistake", "bad ports"),
    "one name for two subsystems": (
        "Subsystem sftp internal-sftp\nSubsystem sftp /x\n", 2, "shadowed", "adds nothing to what"
    ),
    "a user named twice": ("AllowUsers a b\nAllowUsers a b\n", 2, "repeated", "line 1 says"),
    "a command of nobody's": ("AuthorizedKeysCommand /x %u\n", 1, "idle", "AuthorizedKeysCommandUser"),
}  # fmt: skip


@pytest.mark.parametrize("name", SERVER_FINDINGS)
def test_a_server_is_told_of(name: str) -> None:
    text, line, kind, words = SERVER_FINDINGS[name]
    machine = PaperMachine({SERVER: text})
    machine.statuses = {path: FileStatus(0, 0o755) for path in ("/", "/x")}
    found = lint_sshd_config(machine).findings
    found = tuple(one for one in found if one.kind is not Kind.UNSUPPORTED)
    assert brief(found) == [(line, kind)]
    assert words in found[0].sentence


# A value of each keyword for which its row is weak, and one for which no row is.
WEAK_CLIENT = {
    "strict_host_key_checking": ("off", "accept-new"),
    "user_known_hosts_file": ("/dev/null", "~/.ssh/k"),
    "no_host_authentication_for_localhost": ("yes", "no"),
    "forward_agent": ("yes", "no"),
    "forward_x11": ("yes", "no"),
    "forward_x11_trusted": ("yes", "no"),
    "gateway_ports": ("yes", "no"),
    "hostbased_authentication": ("yes", "no"),
    "send_env": ("*", "LANG LC_*"),
    "control_path": ("/tmp/%C", "~/.ssh/%C"),
    "warn_weak_crypto": ("no", "yes"),
    "log_level": ("QUIET", "ERROR"),
    "required_rsa_size": ("1024", "2048"),
    "fingerprint_hash": ("md5", "sha256"),
}


@pytest.mark.parametrize("attribute", dict.fromkeys(row.attribute for row in CLIENT_WEAKNESSES))
def test_a_weak_value_of_a_client_is_named(attribute: str) -> None:
    weak, good = WEAK_CLIENT[attribute]
    spelling = SshConfig.rows[attribute].spelling
    found = [one for one in client(f"{spelling} {weak}\n") if one.kind is Kind.WEAK]
    assert [(one.line, one.keyword) for one in found] == [(1, spelling)]
    assert found[0].hint
    assert not [one for one in client(f"{spelling} {good}\n") if one.kind is Kind.WEAK]


WEAK_SERVER = {
    "permit_root_login": ("yes", "no"),
    "permit_empty_passwords": ("yes", "no"),
    "strict_modes": ("no", "yes"),
    "password_authentication": ("yes", "no"),
    "hostbased_authentication": ("yes", "no"),
    "hostbased_uses_name_from_packet_only": ("yes", "no"),
    "ignore_rhosts": ("no", "yes"),
    "login_grace_time": ("0", "2m"),
    "max_auth_tries": ("100", "6"),
    "gateway_ports": ("yes", "no"),
    "permit_user_environment": ("yes", "no"),
    "accept_env": ("LD_*", "LANG"),
    "x11_forwarding": ("yes", "no"),
    "x11_use_localhost": ("no", "yes"),
    "permit_tunnel": ("yes", "no"),
    "client_alive_count_max": ("0\nClientAliveInterval 5", "3\nClientAliveInterval 5"),
    "per_source_penalties": ("no", "yes"),
    "log_level": ("QUIET", "VERBOSE"),
    "host_key": ("/etc/ssh/ssh_host_dsa_key", "/etc/ssh/ssh_host_ecdsa_key"),
    "required_rsa_size": ("1024", "2048"),
    "fingerprint_hash": ("md5", "sha256"),
}


@pytest.mark.parametrize("attribute", dict.fromkeys(row.attribute for row in SERVER_WEAKNESSES))
def test_a_weak_value_of_a_server_is_named(attribute: str) -> None:
    weak, good = WEAK_SERVER[attribute]
    spelling = SshdConfig.rows[attribute].spelling
    found = [one for one in server(f"{spelling} {weak}\n") if one.kind is Kind.WEAK]
    assert [(one.line, one.keyword) for one in found] == [(1, spelling)]
    assert found[0].hint
    assert not [one for one in server(f"{spelling} {good}\n") if one.kind is Kind.WEAK]


NO_PASSWORDS = "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"


@pytest.mark.parametrize(
    ("text", "line", "severity"),
    [
        (f"PermitRootLogin yes\n{NO_PASSWORDS}", 1, "note"),
        ("PasswordAuthentication no\nUsePAM yes\n", 1, "warning"),
        ("GatewayPorts clientspecified\n", 1, "note"),
        ("LoginGraceTime 1h\n", 1, "note"),
        ("LogLevel DEBUG\n", 1, "note"),
        # What stands in the same block counts there, and not what is said outside.
        (f"{NO_PASSWORDS}Match User a\nPasswordAuthentication yes\nPermitRootLogin yes\n", 5, "warning"),
    ],
)  # fmt: skip
def test_what_is_weak_depends_on_what_stands_beside_it(
    text: str, line: int, severity: str
) -> None:
    found = [one for one in server(text) if one.kind is Kind.WEAK and one.line == line]
    assert [one.severity.value for one in found] == [severity]


def test_what_is_for_one_host_is_not_said_to_be_for_all() -> None:
    assert not client("Host mine\n  ForwardAgent yes\n  ForwardX11 yes\n")
    assert brief(client("Host *\n  ForwardAgent yes\n")) == [(2, "weak")]
    assert brief(client("Match all\n  ForwardAgent yes\n")) == [(2, "weak")]


# --- what does nothing ---------------------------------------------------------------------------

_ON = {
    "local_command": "echo", "canonical_domains": "a.example", "control_persist": "yes",
    "proxy_use_fdpass": "yes", "identity_file": "/k", "certificate_file": "/c",
    "pubkey_accepted_algorithms": "ssh-ed25519", "hostbased_accepted_algorithms": "ssh-ed25519",
    "kbd_interactive_devices": "pam", "control_master": "auto", "server_alive_count_max": "5",
    "canonicalize_max_dots": "3", "canonicalize_permitted_cnames": "a:b",
    "authorized_keys_command": "/x", "authorized_keys_command_user": "nobody",
    "authorized_principals_command": "/x", "authorized_principals_command_user": "nobody",
    "authorized_principals_file": "/p/%u", "client_alive_count_max": "5", "x11_display_offset": "5",
    "xauth_location": "/x", "permit_open": "a:1", "permit_listen": "1", "allow_tcp_forwarding": "local",
    "per_source_penalty_exempt_list": "192.0.2.0/24", "pam_service_name": "x", "ignore_rhosts": "yes",
    "authorized_keys_file": ".ssh/k", "permit_local_command": "yes", "canonicalize_hostname": "yes",
    "control_path": "~/.ssh/%C", "server_alive_interval": "5", "proxy_command": "nc %h %p",
    "client_alive_interval": "5", "trusted_user_ca_keys": "/ca", "per_source_penalties": "yes",
}  # fmt: skip
_OFF = {
    "permit_local_command": "no", "canonicalize_hostname": "no", "control_path": "none",
    "server_alive_interval": "0", "proxy_command": "none", "client_alive_interval": "0",
    "trusted_user_ca_keys": "none", "per_source_penalties": "no", "authorized_keys_command": "none",
    "authorized_keys_command_user": "none", "authorized_principals_command": "none",
    "authorized_principals_command_user": "none", "disable_forwarding": "yes",
}  # fmt: skip


@pytest.mark.parametrize("row", CLIENT_IDLE, ids=lambda row: f"{row.attribute} {row.needs}")
def test_what_does_nothing_for_a_client_is_named(row: Idle) -> None:
    _check_idle(row, SshConfig, client)


@pytest.mark.parametrize("row", SERVER_IDLE, ids=lambda row: f"{row.attribute} {row.needs}")
def test_what_does_nothing_for_a_server_is_named(row: Idle) -> None:
    _check_idle(row, SshdConfig, server)


def _check_idle(
    row: Idle, table: type[KeywordFile], lint: Callable[[str], Sequence[Finding]]
) -> None:
    spelling, needed = (table.rows[name].spelling for name in (row.attribute, row.needs))
    line = f"{spelling} {_ON.get(row.attribute, 'yes')}\n"
    enough = "no" if row.needs == "disable_forwarding" else _ON.get(row.needs, "yes")

    def idle(text: str) -> list[str]:
        found = [one for one in lint(text) if one.kind is Kind.IDLE and one.keyword == spelling]
        return [one.sentence for one in found if f"while {needed} is" in one.sentence]

    off = line + f"{needed} {_OFF.get(row.needs, 'no')}\n"
    assert len(idle(off)) == 1
    assert f"{needed} {enough}" not in off
    assert not idle(line + f"{needed} {enough}\n")
    # Where a block may say so, the value is not idle for everybody.
    if table is SshdConfig and not table.rows[row.needs].in_match:
        return
    assert not idle(
        f"{line}Match {'localuser' if table is SshConfig else 'user'} a\n{needed} {enough}\n"
    )


# --- files ---------------------------------------------------------------------------------------


def test_files_that_ssh_refuses_are_named() -> None:
    machine = paper("IdentityFile ~/.ssh/open\nIdentityFile ~/.ssh/closed\nIdentityFile ~/.ssh/no\n"
                    "IdentityFile ~/.ssh/id.pub\nIdentityFile ~/.ssh/%r\nRevokedHostKeys /r\n")  # fmt: skip
    machine.statuses = {
        "/home/me/.ssh/open": FileStatus(1000, 0o100640),
        "/home/me/.ssh/closed": FileStatus(1000, 0o100600),
        "/home/me/.ssh/id.pub": FileStatus(1000, 0o100644),
    }
    found = lint_ssh_config(machine).findings
    assert [(one.line, one.severity.value) for one in found] == [
        (1, "error"),
        (3, "note"),
        (6, "error"),
    ]
    assert "mode 0640" in found[0].sentence
    assert "every host key is refused" in found[2].sentence


class Guarded(PaperMachine):
    """A machine on which others may write the user's file."""

    def read(self, path: str, *, guarded: bool = False) -> str | None:
        if guarded:
            raise ConfigError(f"Bad owner or permissions on {path}", hint="chmod go-w")
        return super().read(path)


def test_a_users_file_that_others_may_write_is_an_error_and_is_read_all_the_same() -> None:
    found = lint_ssh_config(Guarded({USER: "Prot 22\n"})).findings
    assert [(one.file, one.line, one.kind.value) for one in found] == [
        (USER, 0, "mistake"),
        (USER, 1, "mistake"),
    ]
    assert "Bad owner or permissions" in found[0].sentence
    # Asked about a destination, what ssh would end with is not said twice.
    report = lint_ssh_config(Guarded({USER: "Port 22\n"}), host="host")
    assert report.config is None
    assert len(report.findings) == 1


def test_files_that_sshd_refuses_are_named() -> None:
    machine = PaperMachine({SERVER: "HostKey /k/open\nHostKey /k/closed\nHostKey /k/no\n"
        "RevokedKeys /r\nAuthorizedKeysCommand /opt/x %u\nAuthorizedKeysCommandUser nobody\n"
        "AuthorizedPrincipalsCommand /opt/y\nAuthorizedPrincipalsCommandUser nobody\n"
        "TrustedUserCAKeys /ca\nBanner /b\n"})  # fmt: skip
    machine.uid = 0
    machine.statuses = {
        "/k/open": FileStatus(0, 0o100644),
        "/k/closed": FileStatus(0, 0o100600),
        "/": FileStatus(0, 0o40755),
        "/opt": FileStatus(0, 0o40777),
        "/opt/x": FileStatus(0, 0o100755),
        SERVER: FileStatus(0, 0o100666),
    }
    found = lint_sshd_config(machine).findings
    assert [(one.line, one.severity.value) for one in found] == [
        (0, "warning"), (1, "error"), (3, "warning"), (4, "error"), (5, "error"), (7, "error"),
        (9, "warning"), (10, "note"),
    ]  # fmt: skip
    by_line = {one.line: one.sentence for one in found}
    assert "/opt: others may write it (mode 0777)" in by_line[5]
    assert "/opt: others may write it" in by_line[7]
    machine.statuses["/opt"] = FileStatus(1000, 0o40755)
    by_line = {one.line: one.sentence for one in lint_sshd_config(machine).findings}
    assert "/opt: it belongs to user 1000" in by_line[5]


def test_every_demand_and_every_need_is_of_a_keyword_that_there_is() -> None:
    for table, rows in ((SshConfig, (*CLIENT_DEMANDS, *CLIENT_IDLE, *CLIENT_WEAKNESSES)),
                        (SshdConfig, (*SERVER_DEMANDS, *SERVER_IDLE, *SERVER_WEAKNESSES))):  # fmt: skip
        for row in rows:
            assert row.attribute in table.rows
            assert getattr(row, "needs", row.attribute) in table.rows


# --- what is in order ----------------------------------------------------------------------------

GOOD_CLIENT = """
# The two hosts of a good file, and what holds for all of them at its end.
Host production-server
    HostName 203.0.113.10
    User deploy
    Port 2222
    IdentitiesOnly yes
    ServerAliveInterval 60
    ServerAliveCountMax 3
Host *.example !old.example
    User me
    ProxyCommand nc -x proxy %h %p
Match final host *.internal
    Tag inside
Match localnetwork 192.0.2.0/24
    AddressFamily inet
Match user !root,* exec "true"
    Compression yes
Host *
    AddKeysToAgent yes
    HashKnownHosts yes
    Ciphers -*-cbc
    KexAlgorithms -*sha1
"""
GOOD_SERVER = """
Port 22
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
ClientAliveInterval 60
ClientAliveCountMax 3
Subsystem sftp internal-sftp
Match Group backup Address 192.0.2.0/24
    ForceCommand internal-sftp -R
Match Group admins,!guests
    MaxSessions 20
Match User !root,*
    MaxSessions 5
Match Address 192.0.2.0/24,!192.0.2.9
    MaxAuthTries 3
"""


def test_a_good_file_of_a_client_is_left_alone() -> None:
    assert not client(GOOD_CLIENT)
    for host in ("production-server", "web.example", "other"):
        assert not lint_ssh_config(paper(GOOD_CLIENT), host=host).findings


def test_a_good_file_of_a_server_is_left_alone() -> None:
    assert not server(GOOD_SERVER)
    machine = PaperMachine({SERVER: GOOD_SERVER})
    for peer in (Peer(user="root"), Peer(user="a", groups=("backup",), address="192.0.2.1")):
        assert not lint_sshd_config(machine, peer=peer).findings


def test_of_the_files_that_openssh_comes_with_only_what_is_true_is_said() -> None:
    machine = LocalSurroundings()
    paths = [Path("/etc/ssh/ssh_config"), Path("/etc/ssh/sshd_config")]
    if not all(path.exists() for path in paths):
        pytest.skip("no OpenSSH is installed here")
    found = [
        *lint_ssh_config(machine, file=str(paths[0])).findings,
        *lint_sshd_config(machine, file=str(paths[1])).findings,
    ]
    # Debian forwards X11, asks for PAM, and shows its Kerberos by name.
    said = {(one.kind, one.keyword) for one in found if one.kind is not Kind.UNSUPPORTED}
    assert said <= {(Kind.WEAK, "X11Forwarding")}
    waiting = {one.keyword for one in found if one.kind is Kind.UNSUPPORTED}
    assert waiting <= {"UsePAM", "GSSAPIAuthentication"}


def test_a_keyword_whose_feature_is_left_out_is_no_mistake_of_a_client() -> None:
    (found,) = lint_ssh_config(paper("GSSAPIAuthentication yes\n")).findings
    assert (found.kind, found.severity) == (Kind.UNSUPPORTED, Severity.NOTE)
    (found,) = lint_sshd_config(PaperMachine({SERVER: "GSSAPIAuthentication yes\n"})).findings
    assert (found.kind, found.severity) == (Kind.UNSUPPORTED, Severity.ERROR)
    assert not lint_ssh_config(paper("GSSAPIAuthentication no\n")).findings


# --- for one destination, for one connection -----------------------------------------------------


def verdicts(report: Report[SshConfig] | Report[SshdConfig]) -> list[tuple[int, Verdict, int]]:
    return [(one.line, one.verdict, one.by[1]) for one in report.sources]


COUNTS, SHADOWED, ELSEWHERE = Verdict.COUNTS, Verdict.SHADOWED, Verdict.ELSEWHERE


def test_every_line_says_what_became_of_it_for_a_destination() -> None:
    text = (
        "Host web*\n  Port 1\n  IdentityFile /a\nHost web1\n  Port 2\n  IdentityFile /b\n"
        "Host other\n  Port 3\nHost *\n  ProxyJump none\n  ProxyCommand none\n  ProxyJump j\n  Tag t\n"
    )
    machine = PaperMachine({USER: text, SYSTEM: "Tag u\nUser s\n"})
    report = lint_ssh_config(machine, host="web1", options=["User=o"], port=None)
    assert verdicts(report) == [
        (0, COUNTS, 0),
        (2, COUNTS, 0), (3, COUNTS, 0), (5, SHADOWED, 2), (6, COUNTS, 0), (8, ELSEWHERE, 0),
        (10, COUNTS, 0), (11, COUNTS, 0), (12, SHADOWED, 10), (13, COUNTS, 0),
        (1, SHADOWED, 13), (2, SHADOWED, 0),
    ]  # fmt: skip
    assert report.config is not None
    assert report.config.origin("port") == (USER, 2)
    assert report.sources[-1].by == ("command-line", 0)
    assert lint_ssh_config(machine).sources == ()


def test_forwardings_that_are_cleared_do_not_count() -> None:
    text = "DynamicForward 1080\nClearAllForwardings yes\n"
    report = lint_ssh_config(paper(text), host="a")
    assert verdicts(report) == [(1, SHADOWED, 2), (2, COUNTS, 0)]


def test_every_line_says_what_became_of_it_for_a_connection() -> None:
    text = (
        "MaxSessions 1\nAllowUsers x\nAllowUsers y\nMatch User a,b\n  MaxSessions 2\n  AllowUsers a\n"
        "  AllowUsers b\nMatch User a Address 192.0.2.0/24\n  MaxSessions 3\nMatch User c\n  MaxSessions 4\n"
    )
    machine = PaperMachine({SERVER: text})
    report = lint_sshd_config(machine, peer=Peer(user="a", address="192.0.2.1"))
    assert verdicts(report) == [
        (1, SHADOWED, 5), (2, SHADOWED, 6), (3, SHADOWED, 6), (5, COUNTS, 0), (6, COUNTS, 0),
        (7, COUNTS, 0), (9, SHADOWED, 5), (11, ELSEWHERE, 0),
    ]  # fmt: skip
    assert report.config is not None
    assert report.config.allow_users == ("a", "b")
    nobody = lint_sshd_config(machine)
    assert nobody.sources == ()
    assert nobody.config is not None
    assert nobody.config.allow_users == ("x", "y")


def test_only_what_counts_for_a_destination_is_called_weak() -> None:
    text = "Host a\n  StrictHostKeyChecking yes\nHost a b\n  StrictHostKeyChecking no\n"
    found = {host: lint_ssh_config(paper(text), host=host).findings for host in "ab"}
    assert not found["a"]
    assert brief(found["b"]) == [(4, "weak")]


def test_a_command_runs_only_where_a_destination_is_meant() -> None:
    machine = paper('Match exec "true"\n  Port 2\n')
    assert not lint_ssh_config(machine).findings
    assert machine.ran == []
    report = lint_ssh_config(machine, host="a")
    assert report.config is not None
    assert report.config.port == 2
    assert machine.ran == ["true"]


def test_every_mistake_is_named_and_not_the_first_alone() -> None:
    text = "Prot 1\nHost a\n  Hots b\n\0\nMatch x y\n  Port 99999\nInclude\nPort 22\n"
    found = client(text)
    assert [one.line for one in found] == [1, 3, 4, 5, 6, 7]
    assert found[0].hint.startswith("did you mean")
    assert all(one.severity is Severity.ERROR for one in found)
    report = lint_ssh_config(paper(text), host="a")
    assert report.config is None
    assert report.worst() is Severity.ERROR
    assert report.findings == lint_ssh_config(paper(text)).findings


def test_a_file_that_is_no_configuration_is_not_repeated_line_by_line() -> None:
    found = client("\n".join(f"word{number} x" for number in range(5000)))
    assert 0 < len(found) <= 200


def test_a_file_that_is_missing_or_cannot_be_read_is_a_finding() -> None:
    assert brief(lint_ssh_config(PaperMachine({}), file="/x").findings) == [(0, "mistake")]
    assert brief(lint_sshd_config(PaperMachine({})).findings) == [(0, "mistake")]
    assert brief(lint_ssh_config(PaperMachine({USER: None})).findings) == [(0, "mistake")]
    assert not lint_ssh_config(PaperMachine({})).findings
    assert lint_ssh_config(PaperMachine({})).worst() is None


def test_options_of_the_command_line_are_judged_before_the_files() -> None:
    report = lint_ssh_config(paper("Port 22\n"), options=["Port=1", "Prot=2", "Host=x"])
    assert [(one.file, one.line, one.kind.value) for one in report.findings] == [
        ("command-line", 0, "mistake"),
        ("command-line", 0, "mistake"),
        (USER, 1, "shadowed"),
    ]
    found = lint_sshd_config(
        PaperMachine({SERVER: "Port 22\n"}), options=["StrictModes=no", "Match=All"]
    )
    assert sorted(one.kind.value for one in found.findings) == ["mistake", "weak"]


# --- whatever the files --------------------------------------------------------------------------

RANDOM = settings(
    max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
HOSTS = ("host", "h*", "!x", "other", "*", "real.example", "!h*", "?ost")


def in_force(config: KeywordFile) -> dict[str, object]:
    """The values, where one that is given twice is given once."""
    return {
        name: tuple(dict.fromkeys(map(repr, value))) if config.rows[name].merge else value
        for name, value in config.values().items()
    }


def without(text: str, line: int) -> str:
    lines = text.split("\n")
    lines[line - 1] = ""
    return "\n".join(lines)


@RANDOM
@given(
    config_files(
        list(SshConfig.rows.values()), CLIENT_VALUES, CLIENT_CRITERIA, Drawn(), hosts=HOSTS
    )
)
def test_a_shadowed_line_of_a_client_changes_nothing_for_anybody(text: str) -> None:
    found = lint_ssh_config(paper(text)).findings
    shadowed = [one for one in found if one.kind in {Kind.SHADOWED, Kind.REPEATED}]
    never = {one.line for one in found if one.kind is Kind.NEVER}
    hosts = ("host", "other", "real.example", "x", "h", "aliasx", "ghost")
    before = {}
    for host in hosts:
        report = lint_ssh_config(paper(text), host=host)
        assert report.config is not None
        before[host] = report.config
        assert not never & {line for _, line in report.config.blocks}
    for one in shadowed[:8]:
        machine = paper(without(text, one.line))
        for host in hosts:
            assert in_force(read_ssh_config(machine, host)) == in_force(before[host]), str(one)


PEERS = (
    Peer(),
    Peer(user="ann", groups=("root",), address="192.0.2.7", host="client.example"),
    Peer(user="bob", groups=("nogroup", "root"), address="192.0.2.9", local_port=22),
    Peer(
        user="eve", invalid_user=True, address="2001:db8::1", host="x.example", version="OpenSSH_9"
    ),
    Peer(
        user="x",
        address="203.0.113.1",
        local_address="10.0.0.1",
        routing_domain="r",
        local_port=2200,
    ),
)


@RANDOM
@given(
    config_files(
        list(SshdConfig.rows.values()), SERVER_VALUES, SERVER_CRITERIA, Drawn(),
        everywhere=False,
    )
)  # fmt: skip
def test_a_shadowed_line_of_a_server_changes_nothing_for_anybody(text: str) -> None:
    found = lint_sshd_config(PaperMachine({SERVER: text})).findings
    before = read_sshd_config(PaperMachine({SERVER: text}))
    for one in [one for one in found if one.kind in {Kind.SHADOWED, Kind.REPEATED}][:8]:
        after = read_sshd_config(PaperMachine({SERVER: without(text, one.line)}))
        for peer in PEERS:
            assert in_force(after.for_peer(peer)) == in_force(before.for_peer(peer)), str(one)
    for peer in PEERS:
        report = lint_sshd_config(PaperMachine({SERVER: text}), peer=peer)
        assert report.config == before.for_peer(peer)


PATTERNS = st.lists(
    st.builds(lambda sign, text: sign + text, st.sampled_from(["", "", "!"]), st.text("ab*?", min_size=1, max_size=4)),
    min_size=1, max_size=3,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(PATTERNS, PATTERNS, st.lists(st.text("ab", max_size=5), max_size=12))
def test_a_list_that_covers_another_fits_whatever_that_fits(
    wide: list[str], narrow: list[str], texts: list[str]
) -> None:
    if list_covers(wide, narrow, name="user"):
        for text in texts:
            assert match_pattern_list(text, wide) or not match_pattern_list(text, narrow)
