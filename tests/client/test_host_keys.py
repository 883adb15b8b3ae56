# SPDX-License-Identifier: MIT
"""Whether a server is let in: policies, records, words, and that nothing but a yes is a yes."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.client.scene import GRANT, Answers, Scene

from tellin.algorithms.signatures import HOST_KEY_ALGORITHMS, certified
from tellin.client.authentication.identities import MemoryKeys
from tellin.client.hosts.host_keys import HostKeyPolicy
from tellin.client.hosts.records import FileRecords, HostPlace, known_types
from tellin.client.preferences import settings
from tellin.config.known_hosts import KnownHosts, hash_name, make_line
from tellin.config.ssh_config import SshConfig
from tellin.errors import (
    DisconnectReason,
    HostKeyChanged,
    HostKeyRejected,
    HostKeyRevoked,
    HostKeyUnknown,
    TimedOut,
)
from tellin.keys import PrivateKey, PublicKey
from tellin.runtime.journal import INFO, Journal
from tellin.testing.pairs import HOST_KEY

KEY = HOST_KEY.public
OTHER = PrivateKey.generate("ed25519").public
ECDSA = PrivateKey.generate("ecdsa").public
RSA = PrivateKey.generate("rsa", bits=2048)
USER = PrivateKey.generate("ed25519")
PORT = HostPlace("Host.Example", port=2222)
BOX = "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @"


def record(key: PublicKey, *names: str, **extra: Any) -> str:
    return make_line(names or ("host",), key.key_type, key.blob, **extra) + "\n"


def play(policy: HostKeyPolicy | None, records: str = "", **more: Any) -> Scene:
    scene = Scene(
        keys=[MemoryKeys([USER])], script=[GRANT], policy=policy, records=records, **more
    )
    scene.journal.level = INFO
    return scene.play()


def refused(scene: Scene, kind: type[HostKeyRejected]) -> str:
    """The words of the refusal, once it is sure that nothing about a login has left."""
    assert not scene.requests
    error = scene.core.error
    assert type(error) is kind
    assert error.reason is DisconnectReason.HOST_KEY_NOT_VERIFIABLE
    return str(error)


# Policies


def test_r016_without_a_policy_the_connection_is_refused() -> None:
    scene = play(None, record(KEY))
    assert refused(scene, HostKeyUnknown) == "no host key policy was given"


@pytest.mark.parametrize("policy", list(HostKeyPolicy))
def test_a_key_on_record_is_let_in_without_a_word(policy: HostKeyPolicy) -> None:
    scene = play(policy, record(KEY))
    assert scene.granted
    assert scene.lines == []
    assert scene.records.text == record(KEY)


def test_strict_refuses_a_host_without_record() -> None:
    scene = play(HostKeyPolicy.STRICT)
    assert refused(scene, HostKeyUnknown) == (
        "No ED25519 host key is known for host and you have requested strict checking."
    )
    assert scene.records.text == ""


@pytest.mark.parametrize("policy", [HostKeyPolicy.ACCEPT_NEW, HostKeyPolicy.OFF])
def test_a_new_host_is_recorded(policy: HostKeyPolicy) -> None:
    scene = play(policy)
    assert scene.granted
    assert scene.records.text == record(KEY)
    assert scene.lines == [
        "Warning: Permanently added 'host' (ED25519) to the list of known hosts."
    ]


def test_ask_records_what_was_confirmed() -> None:
    scene = play(HostKeyPolicy.ASK, place=PORT)
    assert scene.granted
    _, question = scene.answers.asked[0]
    assert question.host == "[host.example]:2222"
    assert question.key == KEY
    assert question.fingerprint == KEY.fingerprint()
    assert question.elsewhere == ()
    assert scene.records.text == record(KEY, "[host.example]:2222")


@pytest.mark.parametrize("answer", [False, None, 1, "yes", object()])
def test_r014_anything_but_true_is_a_no(answer: object) -> None:
    answers = Answers()
    answers.host_key = answer
    scene = play(HostKeyPolicy.ASK, answers=answers)
    assert "was not confirmed" in refused(scene, HostKeyUnknown)
    assert scene.records.text == ""


def test_r014_a_fault_while_looking_is_a_no() -> None:
    scene = Scene(keys=[MemoryKeys([USER])], script=[GRANT], policy=HostKeyPolicy.OFF)

    def broken() -> KnownHosts:
        raise OSError(5, "Input/output error")

    scene.records.read = broken  # type: ignore[method-assign]
    scene.play()
    assert "could not be checked" in refused(scene, HostKeyRejected)


def test_r014_a_fault_of_ours_is_a_no_too() -> None:
    scene = Scene(keys=[MemoryKeys([USER])], script=[GRANT], policy=HostKeyPolicy.OFF)

    def broken() -> KnownHosts:
        raise ZeroDivisionError

    scene.records.read = broken  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        scene.play()
    scene.play()
    refused(scene, HostKeyRejected)


def test_r014_a_fault_of_whoever_is_asked_is_a_no() -> None:
    class Broken(Answers):
        def confirm_host_key(self, question: Any, answer: Any) -> None:
            raise RuntimeError

    scene = Scene(
        keys=[MemoryKeys([USER])], script=[GRANT], policy=HostKeyPolicy.ASK, answers=Broken()
    )
    with pytest.raises(RuntimeError):
        scene.play()
    scene.play()
    refused(scene, HostKeyRejected)


def test_an_answer_may_take_its_time() -> None:
    answers = Answers(later=True)
    scene = Scene(
        keys=[MemoryKeys([USER])], script=[GRANT], policy=HostKeyPolicy.ASK, answers=answers
    )
    scene.pair.pump()
    assert not scene.requests
    # Longer than the whole key exchange may take: the time is ours, not the peer's.
    late = scene.pair.now = 1000.0
    scene.core.tick(late)
    assert not scene.core.closed
    answers.release()
    scene.core.tick(2 * late)
    scene.pair.now = 2 * late
    assert scene.play().granted


def test_the_peer_has_its_time_again_after_an_answer() -> None:
    answers = Answers(later=True)
    scene = Scene(policy=HostKeyPolicy.ASK, answers=answers, client={"exchange_timeout": 10.0})
    client, server = scene.core, scene.pair.server
    scene.pair._carry(client, server)
    flight = b"".join(server.to_send())
    for at in range(len(flight)):
        # The reply, and not the NEWKEYS behind it, which never comes.
        client.receive_data(flight[at : at + 1], 1.0)
        scene.settle()
        if answers.asked:
            break
    client.tick(500.0)
    answers.release()
    client.tick(1000.0)
    client.tick(1009.0)
    assert not client.closed
    client.tick(1011.0)
    assert isinstance(client.error, TimedOut)


def test_an_answer_after_the_end_changes_nothing() -> None:
    answers = Answers(later=True)
    scene = Scene(policy=HostKeyPolicy.ASK, answers=answers)
    scene.pair.pump()
    scene.core.disconnect()
    assert answers.release()
    assert scene.records.text == ""


# Changed, revoked, and other keys of the host


@pytest.mark.parametrize(
    "policy", [HostKeyPolicy.STRICT, HostKeyPolicy.ACCEPT_NEW, HostKeyPolicy.ASK]
)
def test_a_changed_key_is_refused_with_the_box(policy: HostKeyPolicy) -> None:
    scene = play(policy, record(OTHER, "[host.example]:2222"), place=PORT)
    assert refused(scene, HostKeyChanged) == (
        "Host key for [host.example]:2222 has changed and you have requested strict checking."
    )
    assert BOX in scene.lines
    assert scene.lines[-3:] == [
        "Offending ED25519 key in known hosts:1",
        "  remove with:",
        '  ssh-keygen -f "known hosts" -R "[host.example]:2222"',
    ]
    assert f"{KEY.fingerprint()}." in scene.lines
    assert not scene.answers.asked


def test_a_changed_key_that_is_let_in_gets_no_password() -> None:
    def forbid() -> tuple[str, ...]:
        return "password", "keyboard-interactive"

    scene = play(HostKeyPolicy.OFF, record(OTHER), check={"on_unsafe": forbid})
    assert scene.granted
    assert BOX in scene.lines
    assert scene.lines[-2:] == [
        "Password authentication is disabled to avoid man-in-the-middle attacks.",
        "Keyboard-interactive authentication is disabled to avoid man-in-the-middle attacks.",
    ]
    assert scene.records.text == record(OTHER)


@pytest.mark.parametrize("policy", list(HostKeyPolicy))
@pytest.mark.parametrize("trusted_too", [False, True])
def test_a_revoked_key_is_refused_whatever_the_policy(
    policy: HostKeyPolicy, trusted_too: bool
) -> None:
    records = (record(KEY) if trusted_too else "") + "@revoked * " + KEY.to_line() + "\n"
    scene = play(policy, records)
    assert "was revoked" in refused(scene, HostKeyRevoked)
    assert "@       WARNING: REVOKED HOST KEY DETECTED!               @" in scene.lines


@pytest.mark.parametrize(
    "policy", [HostKeyPolicy.STRICT, HostKeyPolicy.ASK, HostKeyPolicy.ACCEPT_NEW]
)
def test_a_key_of_another_type_than_is_on_record_is_a_changed_one(policy: HostKeyPolicy) -> None:
    # Whoever sits in the middle shows a key of the type that the host has not shown yet.
    scene = play(policy, record(ECDSA))
    refused(scene, HostKeyChanged)
    assert BOX in scene.lines
    assert "Offending ECDSA key in known hosts:1" in scene.lines
    assert not scene.answers.asked
    assert scene.records.text == record(ECDSA)


def test_a_key_of_a_type_that_nobody_can_show_any_more_is_no_record() -> None:
    old = "host ssh-dss AAAAB3NzaC1kc3MAAAABAQ==\n"
    scene = play(HostKeyPolicy.ACCEPT_NEW, old)
    assert scene.granted
    assert scene.records.text == old + record(KEY)


def test_the_same_key_under_other_names_is_mentioned() -> None:
    hashed = record(KEY, hash_name("secret.example", salt=bytes(20)))
    scene = play(HostKeyPolicy.ASK, record(KEY, "elsewhere,192.0.2.1") + hashed)
    assert scene.answers.asked[0][1].elsewhere == (
        "known hosts:1: elsewhere,192.0.2.1",
        "known hosts:2: [hashed name]",
    )


def test_a_record_without_the_port_is_good_and_a_different_one_no_alarm() -> None:
    assert play(HostKeyPolicy.STRICT, record(KEY, "host.example"), place=PORT).granted
    scene = play(HostKeyPolicy.STRICT, record(OTHER, "host.example"), place=PORT)
    assert "No ED25519 host key is known" in refused(scene, HostKeyUnknown)


def test_an_alias_stands_for_host_and_port() -> None:
    place = HostPlace("host", port=2222, alias="Cluster")
    assert play(HostKeyPolicy.STRICT, record(KEY, "cluster"), place=place).granted
    scene = play(HostKeyPolicy.STRICT, record(KEY, "[host]:2222"), place=place)
    refused(scene, HostKeyUnknown)


def test_the_address_is_looked_up_and_recorded_where_that_is_wanted() -> None:
    place = HostPlace("host", address="192.0.2.7", check_address=True)
    scene = play(HostKeyPolicy.ACCEPT_NEW, place=place)
    assert scene.records.text == record(KEY, "host", "192.0.2.7")
    here = HostPlace("host", address="127.0.0.7", check_address=True)
    assert play(HostKeyPolicy.ACCEPT_NEW, place=here).records.text == record(KEY, "host")
    # A name that is known has its address recorded, whatever the policy.
    for policy in HostKeyPolicy:
        scene = play(policy, record(KEY), place=place)
        assert scene.granted
        assert scene.records.text == record(KEY) + record(KEY, "192.0.2.7")
    # An address that is known is not recorded again.
    scene = play(HostKeyPolicy.ACCEPT_NEW, record(KEY, "192.0.2.7"), place=place)
    assert scene.records.text == record(KEY, "192.0.2.7") + record(KEY)


@pytest.mark.parametrize("other", [OTHER, ECDSA], ids=["other", "of another type"])
@pytest.mark.parametrize("known", [True, False])
def test_an_address_that_is_on_record_with_another_key_has_the_last_word(
    other: PublicKey, known: bool
) -> None:
    place = HostPlace("host", address="192.0.2.7", check_address=True)
    text = (record(KEY) if known else "") + record(other, "192.0.2.7")
    warning = [
        (
            "Warning: the ED25519 host key for 'host' differs from the key for the IP address"
            " '192.0.2.7'"
        ),
        f"Offending key for IP in known hosts:{1 + known}",
        *(["Matching host key in known hosts:1"] if known else []),
    ]
    for policy in (HostKeyPolicy.ACCEPT_NEW, *([HostKeyPolicy.STRICT] if known else [])):
        scene = play(policy, text, place=place)
        refused(scene, HostKeyChanged)
        assert scene.lines[-len(warning) :] == warning
    scene = play(HostKeyPolicy.OFF, text, place=place)
    assert scene.granted
    assert scene.lines[-len(warning) :] == warning
    scene = play(HostKeyPolicy.ASK, text, place=place)
    assert scene.granted
    question = scene.answers.asked[-1][1]
    assert [*question.warning] == warning
    assert len(scene.answers.asked) == 2 - known


@pytest.mark.parametrize("answer", [False, None, "yes", 1])
def test_r014_an_address_of_another_key_needs_a_plain_yes(answer: object) -> None:
    place = HostPlace("host", address="192.0.2.7", check_address=True)
    answers = Answers()
    answers.host_key = answer
    text = record(KEY) + record(OTHER, "192.0.2.7")
    refused(play(HostKeyPolicy.ASK, text, place=place, answers=answers), HostKeyChanged)


@pytest.mark.parametrize(
    ("here", "said"),
    [
        (None, "is unknown."),
        (KEY, "is unchanged."),
        (ECDSA, "has a different value."),
        (OTHER, ""),
    ],
)
def test_a_name_that_changes_otherwise_than_its_address_may_be_a_false_one(
    here: PublicKey | None, said: str
) -> None:
    place = HostPlace("host", address="192.0.2.7", check_address=True)
    text = record(OTHER) + (record(here, "192.0.2.7") if here is not None else "")
    scene = play(HostKeyPolicy.OFF, text, place=place)
    assert scene.granted
    assert scene.said("POSSIBLE DNS SPOOFING DETECTED!") is bool(said)
    assert scene.said(f"{said} This could either mean that") is bool(said)
    offending = "Offending key for IP in known hosts:2"
    assert (offending in scene.lines) is (here is not None and bool(said))
    assert BOX in scene.lines
    assert scene.records.text == text


def test_names_are_hashed_where_that_is_wanted() -> None:
    scene = play(
        HostKeyPolicy.ACCEPT_NEW,
        place=HostPlace("host", address="192.0.2.7", check_address=True),
        check={"hash_names": True},
    )
    lines = scene.records.text.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("|1|") for line in lines)
    records = KnownHosts.parse(scene.records.text)
    assert records.find("host")
    assert records.find("192.0.2.7")
    assert scene.lines == [
        "Warning: Permanently added 'host,192.0.2.7' (ED25519) to the list of known hosts."
    ]


def test_a_short_rsa_host_key_is_refused() -> None:
    scene = play(HostKeyPolicy.OFF, host_key=RSA, check={"required_rsa_size": 3072})
    assert "2048 bits" in refused(scene, HostKeyRejected)


def test_a_record_that_cannot_be_written_ends_nothing() -> None:
    scene = Scene(keys=[MemoryKeys([USER])], script=[GRANT], policy=HostKeyPolicy.ACCEPT_NEW)

    def full(line: str) -> None:
        raise OSError(28, "No space left on device")

    scene.records.add = full  # type: ignore[method-assign]
    assert scene.play().granted
    assert scene.said("Failed to add the host to the list of known hosts")


# Where no authority is on record, a certificate is worth no more than its key.
OFFERED = (*HOST_KEY_ALGORITHMS, *map(certified, HOST_KEY_ALGORITHMS))


def offer(known: str, *, port: int = 22, algorithms: str = "") -> tuple[str, ...]:
    """The host key algorithms that somebody with these records asks a server for."""
    config = SshConfig(host_key_algorithms=algorithms)
    types = known_types(KnownHosts.parse(known), HostPlace("host", port))
    return settings(config, known=types).preferences.host_keys


def test_r048_a_first_visit_and_the_usual_one_offer_the_same() -> None:
    assert offer("") == OFFERED
    for known in (
        record(KEY),
        record(KEY) + record(ECDSA) + record(RSA.public),
        # What else is known does not show either: RSA stands before ECDSA, known or not.
        record(KEY) + record(ECDSA),
        record(RSA.public, "elsewhere"),
        "@revoked " + record(RSA.public),
        "@cert-authority " + record(RSA.public, "elsewhere"),
        "host ssh-rsa\n",
    ):
        assert offer(known) == OFFERED


def test_r048_certificates_are_asked_for_first_where_an_authority_is_on_record() -> None:
    certificates = tuple(map(certified, HOST_KEY_ALGORITHMS))
    authority = "@cert-authority " + record(RSA.public, "*")
    assert offer(authority) == (*certificates, *HOST_KEY_ALGORITHMS)
    assert offer(authority + record(KEY)) == (*certificates, *HOST_KEY_ALGORITHMS)
    assert offer(authority + record(RSA.public))[: len(certificates) + 1] == (
        *certificates,
        "rsa-sha2-512",
    )
    # A list that was written out stands as it is.
    assert offer(authority, algorithms="ssh-ed25519") == ("ssh-ed25519",)


def test_keys_of_a_type_that_is_on_record_are_asked_for_first() -> None:
    rsa = ("rsa-sha2-512", "rsa-sha2-256")
    found = offer(record(RSA.public))
    assert found[:2] == rsa
    assert found[2:] == tuple(name for name in OFFERED if name not in rsa)
    assert offer(record(ECDSA))[0] == "ecdsa-sha2-nistp256"
    assert offer(record(ECDSA) + record(RSA.public))[:3] == (*rsa, "ecdsa-sha2-nistp256")
    # Under another port the name is another one; a record without the port is good all the same.
    assert offer(record(RSA.public, "[host]:2222"), port=2222)[:2] == rsa
    assert offer(record(RSA.public), port=2222)[:2] == rsa
    assert offer(record(RSA.public, "[host]:2222")) == OFFERED
    assert offer(hash_name("host", salt=bytes(20)) + record(RSA.public)[4:])[:2] == rsa


def test_a_list_that_somebody_wrote_out_stands_as_it_is() -> None:
    written = "ecdsa-sha2-nistp256,ssh-ed25519,rsa-sha2-256"
    assert offer(record(RSA.public), algorithms=written) == tuple(written.split(","))
    assert offer(record(RSA.public), algorithms="^ecdsa-sha2-nistp256")[0] == "ecdsa-sha2-nistp256"
    assert offer(record(RSA.public), algorithms="-ecdsa*")[0] == "rsa-sha2-512"


# Files


def test_new_hosts_go_to_the_first_file_and_all_are_read(tmp_path: Path) -> None:
    first, second, everybody = (tmp_path / "new" / "known_hosts", tmp_path / "b", tmp_path / "c")
    second.write_text(record(KEY, "two"), "ascii")
    everybody.write_text(record(OTHER, "three"), "ascii")
    records = FileRecords([str(first), str(second)], [str(everybody)], Journal())
    assert [entry.names for entry in records.read().entries()] == ["two", "three"]
    records.add(record(ECDSA, "one").strip())
    assert first.read_text("ascii") == record(ECDSA, "one")
    assert first.stat().st_mode & 0o777 == 0o600
    assert first.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.names for entry in records.read().entries()] == ["one", "two", "three"]


def test_a_last_line_without_its_end_is_not_run_into(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(record(KEY, "one").strip(), "ascii")
    FileRecords([str(path)], [], Journal()).add(record(OTHER, "two").strip())
    assert path.read_text("ascii") == record(KEY, "one") + record(OTHER, "two")


def test_the_null_device_takes_every_record_and_keeps_none(tmp_path: Path) -> None:
    records = FileRecords(["/dev/null"], [], Journal())
    records.add(record(KEY).strip())
    assert list(records.read().entries()) == []
    assert Path("/dev/null").is_char_device()


def test_without_files_nothing_is_written() -> None:
    records = FileRecords([], [], Journal())
    records.add(record(KEY).strip())
    assert records.place == ""


def test_faulty_lines_are_named_and_never_match() -> None:
    scene = Scene(
        keys=[MemoryKeys([USER])],
        policy=HostKeyPolicy.STRICT,
        records=f"host ssh-ed25519 !!!\nhost ecdsa-sha2-nistp256 {KEY.to_line().split()[1]}\n",
    ).play()
    refused(scene, HostKeyUnknown)
    assert [line.split(":")[:2] for line in scene.lines if "known hosts" in line] == [
        ["known hosts", "1"],
        ["known hosts", "2"],
    ]


@pytest.mark.peer("ssh-keygen")
def test_openssh_finds_what_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    for hashing in (False, True):
        scene = play(HostKeyPolicy.ACCEPT_NEW, place=PORT, check={"hash_names": hashing})
        path.write_text(scene.records.text, "ascii")
        done = subprocess.run(
            ["ssh-keygen", "-F", "[host.example]:2222", "-f", path],
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done
        assert KEY.to_line().split()[1] in done.stdout
