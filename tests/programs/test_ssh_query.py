# SPDX-License-Identifier: MIT
"""``ssh -Q``: every list, by its own name and by the keywords that take it."""

import subprocess

import pytest

from tellin.config import kinds
from tellin.config.ssh_config import SshConfig
from tellin.config.sshd_config import SshdConfig
from tellin.programs.command import Failure
from tellin.programs.ssh.query import QUERIES, answer, names_of_keyword

# What 10.5 has and 9.2 has not, or the other way round.
NEW = {
    "mlkem768x25519-sha256",
    "mlkem768nistp256-sha256",
    "ssh-mldsa44-ed25519@openssh.com",
    "ssh-mldsa44-ed25519-cert-v01@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "key-ca-sign",
}
GONE = {
    "ssh-dss": "DSA went in 10.0",
    "ssh-dss-cert-v01@openssh.com": "DSA went in 10.0",
    "kex-gss": "Debian's own",
    "zlib": "compression before login went in 7.4; the name is still printed",
}
KEYWORDS = [
    "Ciphers", "MACs", "KexAlgorithms", "HostKeyAlgorithms", "PubkeyAcceptedAlgorithms",
    "PubkeyAcceptedKeyTypes", "HostbasedAcceptedAlgorithms", "HostbasedKeyTypes",
    "HostbasedAcceptedKeyTypes", "ciphers", "KEXALGORITHMS",
]  # fmt: skip


def ours(query: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert answer(query) == 0
    return capsys.readouterr().out.split()


@pytest.mark.peer("ssh")
@pytest.mark.parametrize("query", [name for name in QUERIES if name != "key-ca-sign"] + KEYWORDS)
def test_a_list_holds_what_openssh_prints(query: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(["ssh", "-Q", query], capture_output=True, text=True, check=True)
    theirs, mine = done.stdout.split(), ours(query, capsys)
    assert len(mine) == len(set(mine))
    # A peer that is itself newer has these, too.
    assert set(mine) - set(theirs) <= NEW
    assert set(theirs) - set(mine) <= set(GONE)


@pytest.mark.parametrize("table", [SshConfig, SshdConfig], ids=lambda table: table.__name__)
def test_every_keyword_of_an_algorithm_list_can_be_asked_for(
    table: type[SshConfig] | type[SshdConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    found = [row for row in table.rows.values() if row.kind is kinds.OPTIONAL_ALGORITHMS]
    assert len(found) == 7
    for row in found:
        assert ours(row.spelling, capsys)
    assert ours("CASignatureAlgorithms", capsys) == ours("key-ca-sign", capsys)


@pytest.mark.parametrize("query", ["", "nothing", "MAC", "Port", "Compression", "Host", "UseRsh"])
def test_what_is_no_list_is_refused_as_by_openssh(query: str) -> None:
    with pytest.raises(Failure, match=f'^Unsupported query "{query}"$'):
        answer(query)


def test_help_names_what_can_be_asked_but_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert ours("help", capsys) == sorted(set(QUERIES) - {"help"})
    assert names_of_keyword("Port") is None
