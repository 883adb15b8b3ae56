# SPDX-License-Identifier: MIT
"""Host keys from elsewhere than files: KnownHostsCommand, and SSHFP records of the DNS."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.client.scene import GRANT, Scene
from tests.config.paper_machine import PaperMachine

from tellin.client.authentication.identities import MemoryKeys
from tellin.client.hosts.host_key_sources import HostKeySources, Verdict, judge
from tellin.client.hosts.host_keys import HostKeyPolicy
from tellin.client.hosts.records import HostPlace
from tellin.config.known_hosts import Marker, make_line
from tellin.config.ssh_config import SshConfig
from tellin.errors import ConfigError, HostKeyRejected, HostKeyRevoked
from tellin.keys import PrivateKey, PublicKey
from tellin.keys.fingerprints import digest
from tellin.runtime.capture import output_of
from tellin.runtime.journal import DEBUG3, Journal
from tellin.runtime.sshfp import SshfpAnswer, SshfpRecord, look_up, trusts_ad
from tellin.testing.pairs import HOST_KEY

KEY = HOST_KEY.public
OTHER = PrivateKey.generate("ed25519").public
RSA = PrivateKey.generate("rsa", bits=2048).public
USER = PrivateKey.generate("ed25519")


def line(key: PublicKey, name: str = "host", **more: object) -> str:
    return make_line([name], key.key_type, key.blob, **more) + "\n"  # type: ignore[arg-type]


# KnownHostsCommand


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    path.chmod(0o700)
    return path


def sources(command: str | None = None, **config: object) -> HostKeySources:
    made = SshConfig(known_hosts_command=command, **config)
    made.host_argument = "host"
    return HostKeySources(made, PaperMachine({}), Journal())


def play(
    found: HostKeySources, policy: HostKeyPolicy, records: str = "", **check: object
) -> Scene:
    return Scene(
        keys=[MemoryKeys([USER])],
        script=[GRANT],
        policy=policy,
        records=records,
        check={"sources": found, **check},
    ).play()


def test_the_lines_of_a_program_are_records(tmp_path: Path) -> None:
    told = program(tmp_path / "told", f"cat <<'X'\n# comment\nnonsense\n{line(KEY)}X")
    scene = play(sources(str(told)), HostKeyPolicy.STRICT)
    assert scene.granted
    assert scene.said("Found key in KnownHostsCommand-HOSTNAME:3")
    assert scene.records.text == ""
    # Without its last end a line is one all the same; what is revoked there is revoked.
    revoked = line(KEY, marker=Marker.REVOKED).strip()
    worse = program(tmp_path / "worse", f"printf %s '{revoked}'")
    scene = play(sources(str(worse)), HostKeyPolicy.OFF, line(KEY))
    assert isinstance(scene.core.error, HostKeyRevoked)


def test_a_program_is_told_what_it_is_about_and_no_shell_is_between(tmp_path: Path) -> None:
    note = tmp_path / "note"
    told = program(tmp_path / "told", f'for word; do echo "<$word>"; done >> {note}')
    words = "%H %I %t %f %K %% %n '%h $(id); x'"
    found = sources(f"{told} {words}")
    place = HostPlace("host", 2222, address="192.0.2.1", check_address=True)
    assert found.find(place, KEY).lines == ""
    base64 = KEY.to_line().split()[1]
    shown = [KEY.key_type, KEY.fingerprint(), base64, "%", "host", "host $(id); x"]
    wanted = [
        word
        for start in (
            ["[host]:2222", "HOSTNAME"], ["host", "HOSTNAME"], ["[192.0.2.1]:2222", "ADDRESS"],
        )
        for word in (*start, *shown)
    ]  # fmt: skip
    assert note.read_text("utf-8") == "".join(f"<{word}>\n" for word in wanted)


def test_the_types_that_a_program_knows_are_asked_for_first(tmp_path: Path) -> None:
    told = program(tmp_path / "told", f'[ "$1 $2" = "ORDER NONE" ] && echo "{line(RSA).strip()}"')
    found = sources(f"{told} %I %t")
    known = found.known(Scene().records, HostPlace("host"))
    assert known.types(["host"]) == {"ssh-rsa"}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 3", "failed with status 3"),
        (None, "cannot be run"),
        ("kill -9 $$", "failed with status -9"),
    ],
)
def test_a_program_that_fails_lets_nobody_in(
    tmp_path: Path, script: str | None, said: str
) -> None:
    path = tmp_path / "told"
    if script is not None:
        program(path, script)
    scene = play(sources(str(path)), HostKeyPolicy.OFF, line(KEY))
    assert not scene.requests
    assert isinstance(scene.core.error, HostKeyRejected)
    assert said in str(scene.core.error)


@pytest.mark.parametrize("command", ["sh -c true", "'/bin/true", "/bin/echo %z", "/bin/echo ${X}"])
def test_a_command_that_is_none_lets_nobody_in(command: str) -> None:
    scene = play(sources(command), HostKeyPolicy.OFF)
    assert isinstance(scene.core.error, HostKeyRejected)


def test_what_a_program_writes_and_how_long_it_takes_are_bounded(tmp_path: Path) -> None:
    endless = program(tmp_path / "endless", "yes")
    with pytest.raises(ConfigError, match="more than 1000 bytes"):
        output_of([str(endless)], limit=1000, seconds=60)
    for script in ("sleep 600", "exec >&-; sleep 600"):
        slow = program(tmp_path / "slow", script)
        with pytest.raises(ConfigError, match="takes too long"):
            output_of([str(slow)], limit=1000, seconds=0.5)
    assert output_of(["/bin/echo", "x"], limit=2, seconds=60) == b"x\n"


# SSHFP


def record(key: PublicKey, hash_name: str = "sha256", **wrong: object) -> SshfpRecord:
    algorithm = {"ED25519": 4, "RSA": 1, "ECDSA": 3}[key.kind]
    made = SshfpRecord(algorithm, {"sha1": 1, "sha256": 2}[hash_name], digest(key.blob, hash_name))
    for name, value in wrong.items():
        setattr(made, name, value)
    return made


def answer(*records: SshfpRecord, secure: bool = False) -> SshfpAnswer:
    return SshfpAnswer(records, secure)


def test_the_dns_s_word_on_a_key() -> None:
    good = record(KEY)
    wrong = record(OTHER)
    cases = [
        (answer(), Verdict.SILENT),
        (answer(good), Verdict.MATCHES),
        (answer(good, secure=True), Verdict.PROVEN),
        (answer(record(KEY, "sha1"), secure=True), Verdict.PROVEN),
        (answer(record(RSA), good), Verdict.MATCHES),
        # One wrong one of the same kind outweighs all that are right.
        (answer(good, wrong, secure=True), Verdict.DIFFERS),
        (answer(wrong, good, secure=True), Verdict.DIFFERS),
        (answer(record(RSA), secure=True), Verdict.DIFFERS),
        (answer(record(KEY, hash_type=9), secure=True), Verdict.DIFFERS),
        (answer(record(KEY, fingerprint=b""), secure=True), Verdict.DIFFERS),
        (answer(record(KEY, algorithm=1), secure=True), Verdict.DIFFERS),
    ]
    for said, wanted in cases:
        assert judge(said, KEY) is wanted, said


def by_dns(said: SshfpAnswer, dns: str = "yes", **config: object) -> HostKeySources:
    made = SshConfig(verify_host_key_dns=dns, **config)
    made.host_argument = "host"
    return HostKeySources(made, PaperMachine({}), Journal(), ask_dns=lambda host: said)


def test_a_verified_record_is_enough_only_where_that_is_said() -> None:
    proven = by_dns(answer(record(KEY), secure=True))
    assert play(proven, HostKeyPolicy.STRICT, trust_dns=True).granted
    assert not play(proven, HostKeyPolicy.STRICT, trust_dns=False).granted
    unverified = by_dns(answer(record(KEY)))
    assert not play(unverified, HostKeyPolicy.STRICT, trust_dns=True).granted


def test_what_is_revoked_stays_revoked_whatever_the_dns_says() -> None:
    proven = by_dns(answer(record(KEY), secure=True))
    records = line(KEY, marker=Marker.REVOKED)
    scene = play(proven, HostKeyPolicy.OFF, records, trust_dns=True)
    assert isinstance(scene.core.error, HostKeyRevoked)


def test_a_record_of_another_key_is_told_and_the_files_decide() -> None:
    differs = by_dns(answer(record(OTHER), secure=True))
    scene = play(differs, HostKeyPolicy.STRICT, line(KEY), trust_dns=True)
    assert scene.granted
    assert scene.said("REMOTE HOST IDENTIFICATION HAS CHANGED!")
    assert scene.said("Update the SSHFP RR in DNS")
    assert not play(differs, HostKeyPolicy.STRICT, trust_dns=True).granted


@pytest.mark.parametrize(("said", "in_dns"), [(answer(record(KEY)), True), (answer(), False)])
def test_whoever_is_asked_about_a_key_is_told_of_the_dns(said: SshfpAnswer, in_dns: bool) -> None:
    scene = play(by_dns(said, "ask"), HostKeyPolicy.ASK)
    assert scene.granted
    assert scene.answers.asked[0][1].in_dns is in_dns


def test_an_address_is_not_looked_up() -> None:
    journal: list[str] = []
    for host in ("192.0.2.1", "2001:db8::1", "fe80::1%eth0"):
        config = SshConfig(verify_host_key_dns="yes", hostname=host)
        found = HostKeySources(
            config, PaperMachine({}), Journal(DEBUG3, journal.append), ask_dns=pytest.fail
        )
        assert found.find(HostPlace(host), KEY).verdict is Verdict.SILENT
    assert len(journal) == 3


# The name server

dns = pytest.importorskip("dns.message")


@pytest.fixture
def name_server() -> Iterator[tuple[int, dict[str, object]]]:
    """A name server that says the same to everybody: (port, what it says)."""
    import dns.flags
    import dns.rcode
    import dns.rrset

    says: dict[str, object] = {"records": [], "ad": True, "noise": b""}
    asked = says["asked"] = []
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            data, peer = server.recvfrom(4096)
            if not data:
                return
            query = dns.message.from_wire(data)
            asked.append(query)  # type: ignore[attr-defined]
            reply = dns.message.make_response(query, recursion_available=True)
            if says["ad"]:
                reply.flags |= dns.flags.AD
            if says.get("rcode"):
                reply.set_rcode(dns.rcode.NXDOMAIN)
            records = says["records"]
            if records:
                name = query.question[0].name
                reply.answer.append(dns.rrset.from_text(name, 60, "IN", "SSHFP", *records))  # type: ignore[misc]
            server.sendto(says["noise"] or reply.to_wire(), peer)  # type: ignore[arg-type]

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1], says
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b"", server.getsockname())
    thread.join(60)
    server.close()


def test_records_come_from_the_name_server(
    name_server: tuple[int, dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dns.flags

    monkeypatch.delenv("RES_OPTIONS", raising=False)
    port, says = name_server
    conf = tmp_path / "resolv.conf"
    plain, trusting = "nameserver 127.0.0.1\n", "nameserver 127.0.0.1\noptions edns0 trust-ad\n"
    sha256 = digest(KEY.blob, "sha256").hex()
    says["records"] = [f"4 2 {sha256}", "1 1 " + "00" * 20]

    def ask(text: str) -> SshfpAnswer:
        conf.write_text(text, "ascii")
        return look_up("host.example", resolv_conf=str(conf), port=port, seconds=20)

    found = ask(trusting)
    assert found.secure
    assert sorted((one.algorithm, one.hash_type) for one in found.records) == [(1, 1), (4, 2)]
    assert judge(found, KEY) is Verdict.PROVEN
    # The bit of a name server that nobody has called trustworthy says nothing.
    assert not ask(plain).secure
    monkeypatch.setenv("RES_OPTIONS", "trust-ad")
    assert ask(plain).secure
    says["ad"] = False
    assert not ask(trusting).secure
    query = says["asked"][0]  # type: ignore[index]
    assert query.flags & dns.flags.AD
    assert str(query.question[0]) == "host.example. IN SSHFP"
    says["records"], says["ad"] = [], True
    assert ask(trusting).records == ()
    says["rcode"] = True
    assert ask(trusting) == SshfpAnswer((), secure=False)
    says["noise"] = b"\0" * 12
    conf.write_text(trusting, "ascii")
    quick = look_up("host.example", resolv_conf=str(conf), port=port, seconds=0.5)
    assert quick == SshfpAnswer((), secure=False)
    assert look_up("a..b", resolv_conf=str(conf), port=port).records == ()
    assert not look_up("host", resolv_conf="/nonexistent", port=port, seconds=0.5).records


def test_who_may_vouch_is_said_by_the_resolver_s_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RES_OPTIONS", raising=False)
    conf = tmp_path / "resolv.conf"
    for text, trusted in (
        ("options trust-ad\n", True),
        ("options ndots:1 trust-ad", True),
        ("#options trust-ad\n", False),
        ("options no-trust-ad\n", False),
        ("", False),
    ):
        conf.write_text(text, "ascii")
        assert trusts_ad(str(conf)) is trusted
    assert not trusts_ad("/nonexistent")


def test_nothing_of_it_is_loaded_where_files_are_enough() -> None:
    text = (
        "import sys, tellin.programs.ssh.run, tellin.client.hosts.host_keys\n"
        "bad = {'tellin.client.hosts.host_key_sources', 'tellin.runtime.sshfp', 'dns', 'subprocess',"
        " 'tellin.client.hosts.host_key_updates', 'tellin.config.host_key_updates'} & {*sys.modules}\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", text], check=True)
