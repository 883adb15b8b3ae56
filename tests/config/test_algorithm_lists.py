# SPDX-License-Identifier: MIT
"""Algorithm lists: what a configuration offers, and what it says of names it does not know."""

import pytest
from tests.config.paper_machine import USER, PaperMachine, paper

from tellin.algorithms.key_exchange import KEY_EXCHANGES
from tellin.client.offer import algorithms as client_algorithms
from tellin.config import kinds
from tellin.config.algorithm_lists import with_lists
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import read_ssh_config
from tellin.config.sshd_config import SshdConfig
from tellin.config.sshd_reading import read_sshd_config
from tellin.errors import ConfigError
from tellin.server.settings import algorithms as server_algorithms
from tellin.server.settings import check_algorithms


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


LISTS = [row.spelling for row in SshConfig.rows.values() if row.kind is kinds.OPTIONAL_ALGORITHMS]
SERVER = "/etc/ssh/sshd_config"


@pytest.mark.parametrize("keyword", LISTS)
@pytest.mark.parametrize("spec", ["aes128-crt", "+bogus", ",", "+", "a,,b"])
def test_r114_an_unknown_name_is_refused_with_its_place(keyword: str, spec: str) -> None:
    with pytest.raises(ConfigError, match=f"^{USER} line 2: {keyword}: "):
        client_algorithms(read_ssh_config(paper(f"\n{keyword} {spec}"), "host"))
    file = "/etc/ssh/sshd_config"
    settings = read_sshd_config(PaperMachine({file: f"\n{keyword} {spec}"}))
    with pytest.raises(ConfigError, match=f"^{file} line 2: {keyword}: "):
        server_algorithms(settings.always)


# A name of each list, misspelt, and the one that was meant.
MEANT = {
    "Ciphers": ("aes128-crt", "aes128-ctr"),
    "MACs": ("hmac-sha2-265", "hmac-sha2-256"),
    "KexAlgorithms": ("curve25519-sha265", "curve25519-sha256"),
    "HostKeyAlgorithms": ("ssh-ed22519", "ssh-ed25519"),
    "PubkeyAcceptedAlgorithms": ("rsa-sha2-521", "rsa-sha2-512"),
    "CASignatureAlgorithms": ("rsa-sha-512", "rsa-sha2-512"),
    "HostbasedAcceptedAlgorithms": ("ecdsa-sha2-nistp265", "ecdsa-sha2-nistp256"),
}


@pytest.mark.parametrize("keyword", LISTS)
def test_r114_what_was_meant_is_named_for_every_list_of_both_files(keyword: str) -> None:
    wrong, meant = MEANT[keyword]
    with pytest.raises(ConfigError) as caught:
        client_algorithms(read_ssh_config(paper(f"\n{keyword} ^{wrong}"), "host"))
    assert (caught.value.file, caught.value.line, caught.value.keyword) == (USER, 2, keyword)
    assert "did you mean" in caught.value.hint
    assert meant in caught.value.hint
    settings = read_sshd_config(PaperMachine({SERVER: f"\n{keyword} {wrong}"}))
    with pytest.raises(ConfigError) as caught:
        server_algorithms(settings.always)
    assert (caught.value.file, caught.value.line, caught.value.keyword) == (SERVER, 2, keyword)
    assert meant in caught.value.hint


@pytest.mark.parametrize("keyword", LISTS)
def test_r114_a_name_in_a_block_for_others_is_refused_too(keyword: str) -> None:
    wrong, _ = MEANT[keyword]
    text = f"Host other\n{keyword} +{wrong}\nHost *\n"
    with pytest.raises(ConfigError, match=f"^{USER} line 2: {keyword}: unknown"):
        client_algorithms(read_ssh_config(paper(text), "host"))
    lost = f"{keyword} -nothing\n{keyword} {wrong}"
    with pytest.raises(ConfigError, match=f"^{USER} line 2: {keyword}: unknown"):
        client_algorithms(read_ssh_config(paper(lost), "host"))
    # What other programs have does no harm to who is not meant.
    client_algorithms(read_ssh_config(paper("Host other\nHostKeyAlgorithms ssh-dss"), "host"))


IN_MATCH = [
    row.spelling
    for row in SshdConfig.rows.values()
    if row.kind is kinds.OPTIONAL_ALGORITHMS and row.in_match
]


@pytest.mark.parametrize("keyword", IN_MATCH)
@pytest.mark.parametrize("spec", ["+bogus", "-*", "a,,b"])
def test_r114_r115_a_list_in_a_match_block_is_looked_at_before_anybody_meets_it(
    keyword: str, spec: str
) -> None:
    text = f"Match User a\n  {keyword} ssh-ed25519\nMatch User b\n  {keyword} {spec}\n"
    settings = read_sshd_config(PaperMachine({SERVER: text}))
    server_algorithms(settings.always)
    with pytest.raises(ConfigError, match=f"^{SERVER} line 4: {keyword}: "):
        check_algorithms(settings.algorithms_named)
    good = read_sshd_config(PaperMachine({SERVER: text.replace(spec, "rsa-sha2-512")}))
    check_algorithms(good.algorithms_named)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("Prot", "Port"), ("HostKeyAlgoritms", "HostKeyAlgorithms"), ("Cipers", "Ciphers"),
     ("PubkeyAuthentiction", "PubkeyAuthentication")],
)  # fmt: skip
def test_r114_an_unknown_keyword_is_refused_with_its_place_and_what_was_meant(
    wrong: str, meant: str
) -> None:
    for block in ("", "Match all\n", "Match user nobody\n"):
        number = 2 if block else 1
        with pytest.raises(ConfigError) as caught:
            read_ssh_config(paper(f"{block}{wrong} x\n"), "host")
        assert (caught.value.file, caught.value.line) == (USER, number)
        assert str(caught.value).endswith(f"Bad configuration option: {wrong}")
        assert meant in caught.value.hint
        with pytest.raises(ConfigError) as caught:
            read_sshd_config(PaperMachine({SERVER: f"{block}{wrong} x\n"}))
        assert (caught.value.file, caught.value.line) == (SERVER, number)
        assert meant in caught.value.hint


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
