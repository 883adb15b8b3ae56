# SPDX-License-Identifier: MIT
"""What ssh_config comes to: lists of algorithms, limits, and the plan of a login."""

import pytest

from tellin.algorithms.key_exchange import CLIENT_KEY_EXCHANGES, KEY_EXCHANGES
from tellin.algorithms.signatures import HOST_KEY_ALGORITHMS, with_certificates
from tellin.client.offer import algorithms
from tellin.client.preferences import keepalive, login_plan, settings
from tellin.config.algorithm_lists import with_lists
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import read_ssh_config
from tellin.config.surroundings import Surroundings
from tellin.errors import ConfigError
from tellin.transport.version import IDENTIFICATION


def read(*options: str) -> SshConfig:
    return read_ssh_config(Surroundings(user="me", home="/home/me"), "host", options=options)


def test_nothing_configured_is_every_default() -> None:
    made = settings(read())
    offered = made.preferences
    assert offered.key_exchanges == CLIENT_KEY_EXCHANGES
    assert set(offered.host_keys) == set(with_certificates(HOST_KEY_ALGORITHMS))
    assert offered.host_keys[: len(HOST_KEY_ALGORITHMS)] == HOST_KEY_ALGORITHMS
    assert offered.compressions == ("none", "zlib@openssh.com")
    assert made.identification == IDENTIFICATION
    assert (made.rekey_bytes, made.rekey_seconds) == (0, 0.0)
    assert b"".join(map(made.random, (3, 4))) != bytes(7)


def test_r047_no_sha1_and_no_small_group_by_default() -> None:
    offered = settings(read()).preferences
    for names in (offered.key_exchanges, offered.host_keys, offered.macs):
        assert not [name for name in names if "sha1" in name or name == "ssh-rsa"]


def test_lists_are_replaced_extended_and_shortened() -> None:
    offered = settings(
        read(
            "Ciphers=aes256-ctr",
            "MACs=+hmac-sha1",
            "KexAlgorithms=-ecdh-*",
            "HostKeyAlgorithms=^rsa-sha2-256",
        )
    ).preferences
    assert offered.ciphers == ("aes256-ctr",)
    assert offered.macs[-1] == "hmac-sha1"
    assert not [name for name in offered.key_exchanges if name.startswith("ecdh-")]
    assert offered.host_keys[0] == "rsa-sha2-256"
    assert set(offered.host_keys) == set(with_certificates(HOST_KEY_ALGORITHMS))


@pytest.mark.parametrize(
    "option", ["Ciphers=aes999", "MACs=nothing", "KexAlgorithms=+x", "PubkeyAcceptedAlgorithms=y"]
)
def test_r114_an_unknown_name_is_refused_with_its_keyword(option: str) -> None:
    config = read(option)
    with pytest.raises(ConfigError) as caught:
        algorithms(config)
    keyword = option.partition("=")[0]
    assert caught.value.keyword == keyword
    assert str(caught.value).startswith(f"command-line: {keyword}: unknown")


def test_the_strict_profile_leaves_the_post_quantum_exchanges() -> None:
    names = settings(read("SecurityProfile=strict")).preferences.key_exchanges
    assert names
    assert all(KEY_EXCHANGES[name].post_quantum for name in names)
    with pytest.raises(ConfigError, match="leaves none"):
        settings(read("SecurityProfile=strict", "KexAlgorithms=curve25519-sha256"))


def test_compression_comes_first_where_it_is_wanted() -> None:
    offered = settings(read("Compression=yes")).preferences
    assert offered.compressions == ("zlib@openssh.com", "none")


def test_limits_and_signs_of_life() -> None:
    config = read("RekeyLimit=1M 1h", "ServerAliveInterval=15", "ServerAliveCountMax=2")
    made = settings(config, exchange_timeout=7.5)
    assert (made.rekey_bytes, made.rekey_seconds) == (1 << 20, 3600.0)
    assert made.exchange_timeout == 7.5
    alive = keepalive(config)
    assert (alive.interval, alive.count) == (15.0, 2)


def test_an_addendum_stands_behind_the_version() -> None:
    assert settings(read("VersionAddendum=from here")).identification == (
        f"{IDENTIFICATION} from here"
    )
    for bad in ("caf\u00e9", "x" * 250, "bell\a"):
        with pytest.raises(ConfigError):
            settings(read(f"VersionAddendum={bad}"))


def test_the_plan_holds_what_is_enabled_in_the_preferred_order() -> None:
    assert login_plan(read(), host="host").order == (
        "publickey",
        "keyboard-interactive",
        "password",
    )
    plan = login_plan(
        read("PreferredAuthentications=password,publickey,password", "NumberOfPasswordPrompts=1"),
        host="host",
    )
    assert plan.order == ("password", "publickey")
    assert plan.prompts == 1
    assert plan.user == "me"
    for option, left in (
        ("PubkeyAuthentication=no", ("keyboard-interactive", "password")),
        ("KbdInteractiveAuthentication=no", ("publickey", "password")),
        ("PasswordAuthentication=no", ("publickey", "keyboard-interactive")),
        ("BatchMode=yes", ("publickey",)),
    ):
        assert login_plan(read(option), host="host").order == left


def test_only_unbound_takes_the_host_key_out_of_signatures() -> None:
    for value, bound in (("yes", True), ("host-bound", True), ("unbound", False)):
        plan = login_plan(read(f"PubkeyAuthentication={value}"), host="host")
        assert plan.bound is bound
        assert "publickey" in plan.order


def test_the_size_of_rsa_keys_can_only_be_raised() -> None:
    assert login_plan(read("RequiredRSASize=512"), host="host").required_rsa_size == 1024
    assert login_plan(read("RequiredRSASize=3072"), host="host").required_rsa_size == 3072


def test_the_lists_are_written_out_for_people() -> None:
    def shown(config: SshConfig) -> list[str]:
        return list(with_lists(config, algorithms(config)).dump())

    written = shown(read("Ciphers=^aes256-ctr"))
    lines = dict(line.split(" ", 1) for line in written)
    assert lines["ciphers"].startswith("aes256-ctr,")
    assert lines["kexalgorithms"] == ",".join(CLIENT_KEY_EXCHANGES)
    again = [line.replace(" ", "=", 1) for line in written if not line.startswith("host ")]
    assert shown(read(*again)) == written


def test_what_only_other_programs_have_is_passed_over_at_a_connection_too() -> None:
    both = "KexAlgorithms=gss-group14-sha256-x,curve25519-sha256"
    assert settings(read(both)).preferences.key_exchanges == ("curve25519-sha256",)
    plan = login_plan(read("PubkeyAcceptedAlgorithms=ssh-dss,ssh-ed25519"), host="host")
    assert plan.key_algorithms == ("ssh-ed25519",)
