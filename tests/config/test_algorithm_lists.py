# SPDX-License-Identifier: MIT
"""Algorithm lists: what a configuration offers, and what it says of names it does not know."""

import pytest
from tests.config.paper_machine import USER, PaperMachine, paper

from tellin.algorithms.key_exchange import KEY_EXCHANGES
from tellin.client.offer import algorithms as client_algorithms
from tellin.config.algorithm_lists import with_lists
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import read_ssh_config
from tellin.config.sshd_config import SshdConfig
from tellin.config.sshd_reading import read_sshd_config
from tellin.errors import ConfigError
from tellin.server.settings import algorithms as server_algorithms


def test_without_a_word_the_defaults_are_offered() -> None:
    client, server = client_algorithms(SshConfig()), server_algorithms(SshdConfig())
    assert client.compressions == ("none", "zlib@openssh.com")
    assert client.ciphers[0] in server.ciphers
    assert not [name for name in server.key_exchanges if name.startswith("diffie-hellman")]
    assert "ssh-rsa" not in client.host_keys + client.user_keys + server.user_keys


def test_lists_are_read_as_openssh_reads_them() -> None:
    text = (
        "Ciphers aes128-ctr,aes256-ctr\nMACs ^hmac-sha2-512\nKexAlgorithms -*nistp*\n"
        "HostKeyAlgorithms +ssh-rsa\nCompression yes\nPubkeyAcceptedAlgorithms ssh-ed25519"
    )
    found = client_algorithms(read_ssh_config(paper(text), "host"))
    assert found.ciphers == ("aes128-ctr", "aes256-ctr")
    assert found.macs[0] == "hmac-sha2-512"
    assert not [name for name in found.key_exchanges if "nistp" in name]
    assert found.host_keys[-1] == "ssh-rsa"
    assert found.user_keys == ("ssh-ed25519",)
    assert found.compressions[0] == "zlib@openssh.com"


def test_the_strict_profile_leaves_what_withstands_quantum_computers() -> None:
    strict = "strict"
    for found in (
        client_algorithms(SshConfig(security_profile=strict)),
        server_algorithms(SshdConfig(security_profile=strict)),
    ):
        assert found.key_exchanges
        assert all(KEY_EXCHANGES[name].post_quantum for name in found.key_exchanges)
    config = SshConfig(security_profile=strict, kex_algorithms="curve25519-sha256")
    with pytest.raises(ConfigError, match="KexAlgorithms: SecurityProfile strict leaves none"):
        client_algorithms(config)
    mixed = SshConfig(security_profile=strict, kex_algorithms="curve25519-sha256,mlkem*")
    assert client_algorithms(mixed).key_exchanges[0].startswith("mlkem")


@pytest.mark.parametrize("keyword", ["Ciphers", "MACs", "KexAlgorithms", "HostKeyAlgorithms",
                                     "PubkeyAcceptedAlgorithms"])  # fmt: skip
@pytest.mark.parametrize("spec", ["aes128-crt", "+bogus", ",", "+", "a,,b"])
def test_an_unknown_name_is_refused_with_its_place(keyword: str, spec: str) -> None:
    # R114
    with pytest.raises(ConfigError, match=f"^{USER} line 2: {keyword}: "):
        client_algorithms(read_ssh_config(paper(f"\n{keyword} {spec}"), "host"))
    file = "/etc/ssh/sshd_config"
    settings = read_sshd_config(PaperMachine({file: f"\n{keyword} {spec}"}))
    with pytest.raises(ConfigError, match=f"^{file} line 2: {keyword}: "):
        server_algorithms(settings.always)


def test_a_client_passes_over_names_that_other_programs_have() -> None:
    text = "HostKeyAlgorithms ssh-dss-cert-v01@openssh.com,ssh-ed25519,ssh-dss"
    found = client_algorithms(read_ssh_config(paper(text), "host"))
    assert found.host_keys == ("ssh-ed25519",)
    found = client_algorithms(read_ssh_config(paper("HostKeyAlgorithms +ssh-dss"), "host"))
    assert found.host_keys == client_algorithms(SshConfig()).host_keys
    with pytest.raises(ConfigError, match=r"HostKeyAlgorithms: none of 'ssh-dss' is supported"):
        client_algorithms(read_ssh_config(paper("HostKeyAlgorithms ssh-dss"), "host"))
    with pytest.raises(ConfigError, match="unknown key algorithm 'ssh-dss'"):
        server_algorithms(SshdConfig(host_key_algorithms="+ssh-dss"))


def test_a_server_without_compression_offers_none() -> None:
    assert server_algorithms(SshdConfig(compression="no")).compressions == ("none",)


def test_lists_written_out_are_the_same_lists() -> None:
    config = SshConfig(ciphers="-*cbc")
    lists = client_algorithms(config)
    full = with_lists(config, lists)
    assert client_algorithms(full) == lists
    assert f"ciphers {','.join(lists.ciphers)}" in list(full.dump())
