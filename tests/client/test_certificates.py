# SPDX-License-Identifier: MIT
"""Certificates at a client: which hosts they prove, and in which order its own are shown."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.certified import Certified, authority, host_certificate, user_certificate
from tests.client.scene import GRANT, Answers, Scene, no, pk_ok
from tests.client.test_host_keys import KEY, OTHER, record
from tests.client.test_login import ED25519, RSA, file_keys, listed, write_key

from tellin.algorithms.signatures import (
    CA_SIGNATURE_ALGORITHMS,
    HOST_KEY_ALGORITHMS,
    USER_KEY_ALGORITHMS,
    certified,
    with_certificates,
)
from tellin.client.authentication.certified import CertifiedKeys
from tellin.client.authentication.identities import Identity, MemoryIdentity, MemoryKeys
from tellin.client.hosts.host_keys import HostKeyPolicy
from tellin.client.hosts.records import HostPlace
from tellin.client.hosts.revoked import revocation_lists
from tellin.config.known_hosts import Marker
from tellin.errors import (
    HostKeyChanged,
    HostKeyRejected,
    HostKeyRevoked,
    HostKeyUnknown,
    TellinError,
)
from tellin.keys import Certificate, PrivateKey, RevocationList
from tellin.runtime.journal import Journal

CA = authority()
NOW = 1.7e9
ALL_NAMES = with_certificates(HOST_KEY_ALGORITHMS)


def of_host(*names: str, **changes: Any) -> Certificate:
    return host_certificate(KEY, *(names or ("host",)), now=NOW, **changes)


def vouch(names: str = "host", *, signer: PrivateKey = CA) -> str:
    return record(signer.public, names, marker=Marker.CERT_AUTHORITY)


def revoke(key: Any, names: str = "*") -> str:
    return record(key, names, marker=Marker.REVOKED)


def show(
    certificate: Certificate,
    records: str,
    *,
    policy: HostKeyPolicy = HostKeyPolicy.STRICT,
    answers: Answers | None = None,
    place: HostPlace | None = None,
    **check: Any,
) -> Scene:
    """A server shows a certificate to a client with these records."""
    name = certificate.signature_algorithms[0]
    return Scene(
        keys=[MemoryKeys([ED25519])],
        script=[GRANT],
        policy=policy,
        records=records,
        place=place,
        answers=answers,
        check={"clock": lambda: NOW, **check},
        server={"host_keys": ((name, certificate.blob),), "host_key_algorithms": (name,)},
        client={"host_key_algorithms": ALL_NAMES},
    ).play()


def refused(scene: Scene, kind: type[TellinError]) -> str:
    """The words of the refusal; nothing about a login has left."""
    assert not scene.requests
    assert type(scene.core.error) is kind
    return str(scene.core.error)


# Whether it proves the host


@pytest.mark.parametrize("policy", list(HostKeyPolicy))
def test_an_authority_on_record_leaves_nothing_to_ask(policy: HostKeyPolicy) -> None:
    answers = Answers()
    scene = show(of_host(), vouch(), policy=policy, answers=answers)
    assert scene.granted
    assert not answers.asked
    # What it proves needs no record.
    assert scene.records.text == vouch()
    assert scene.said(
        f"Server host certificate: {of_host().key_type} {KEY.fingerprint()}, serial 7"
        f' ID "five minutes" CA ssh-ed25519 {CA.public.fingerprint()} valid from 2023-11-14T22:12:20Z'
    )
    assert scene.said("Host 'host' is known and matches the ED25519-CERT host certificate.")
    assert scene.said("Found CA key in known hosts:1")


@pytest.mark.parametrize(
    ("certificate", "records"),
    [
        (of_host("*.example"), vouch("*.example")),
        (of_host("www.example"), vouch("*")),
        (of_host("www.example"), vouch("[www.example]:2222")),
        # An authority of the host, whatever the port.
        (of_host("www.example"), vouch("www.example")),
    ],
    ids=["pattern", "everybody", "port", "any port"],
)
def test_names_of_hosts_have_no_port_in_a_certificate(
    certificate: Certificate, records: str
) -> None:
    assert show(certificate, records, place=HostPlace("WWW.Example", port=2222)).granted


def test_an_alias_is_the_name_that_has_to_be_in_it() -> None:
    place = HostPlace("host", port=22, alias="other")
    assert show(of_host("other"), vouch("other"), place=place).granted
    refused(show(of_host("host"), vouch("other"), place=place), HostKeyUnknown)


NOT_GOOD: dict[str, tuple[Certificate, str]] = {
    "R103 not yet": (of_host(valid_after=int(NOW) + 1), "Certificate invalid: not yet valid"),
    "R103 no more": (of_host(valid_before=int(NOW)), "Certificate invalid: expired"),
    "R103 a user's": (
        user_certificate(KEY, "host", now=NOW), "Certificate invalid: not a host certificate",
    ),
    "R101 for nobody": (host_certificate(KEY, now=NOW), "Certificate lacks principal list"),
    "R100 for two at once": (
        of_host("host,other"), "Certificate invalid: name is not a listed principal",
    ),
    "for another": (of_host("hosts"), "Certificate invalid: name is not a listed principal"),
    "case 293 a demand": (
        of_host(options={"force-command": "x"}), "option 'force-command' is not supported",
    ),
    "case 289 by another algorithm": (
        of_host(signer=RSA, algorithm="rsa-sha2-256"), "disallowed algorithm 'rsa-sha2-256'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", NOT_GOOD)
def test_r106_a_certificate_that_does_not_hold_is_as_good_as_its_key(way: str) -> None:
    certificate, reason = NOT_GOOD[way]
    signer = RSA if "algorithm" in way else CA
    limit = {"authority_algorithms": [n for n in CA_SIGNATURE_ALGORITHMS if n != "rsa-sha2-256"]}
    records = vouch(signer=signer)
    scene = show(certificate, records, **limit)
    assert "No ED25519 host key is known for host" in refused(scene, HostKeyUnknown)
    assert scene.said(reason)
    assert scene.said("No matching CA found. Retry with plain key")
    # The whole check of a plain key: it may be on record, be another one, or be asked about.
    assert show(certificate, records + record(KEY), **limit).granted
    refused(show(certificate, records + record(OTHER), **limit), HostKeyChanged)
    answers = Answers()
    answers.host_key = False
    scene = show(certificate, records, policy=HostKeyPolicy.ASK, answers=answers, **limit)
    refused(scene, HostKeyUnknown)
    assert answers.asked[0][1].key == KEY


@pytest.mark.parametrize(
    "records",
    ["", vouch("elsewhere"), vouch(signer=authority(1))],
    ids=["nobody", "for another host", "another authority"],
)
def test_r106_a_certificate_that_nobody_vouches_for_is_as_good_as_its_key(records: str) -> None:
    refused(show(of_host(), records), HostKeyUnknown)
    assert show(of_host(), records + record(KEY)).granted
    scene = show(of_host(), records, policy=HostKeyPolicy.ACCEPT_NEW)
    assert scene.granted
    # What is recorded is the key: a certificate would be another one tomorrow.
    assert scene.records.text == records + record(KEY)


@pytest.mark.parametrize("policy", list(HostKeyPolicy))
@pytest.mark.parametrize("what", [KEY, CA.public], ids=["key", "authority"])
def test_r104_case_311_what_is_revoked_proves_nothing(policy: HostKeyPolicy, what: Any) -> None:
    scene = show(of_host(), vouch() + record(KEY) + revoke(what), policy=policy)
    assert "was revoked" in refused(scene, HostKeyRevoked)
    assert scene.said("The ED25519-CERT host key for host is marked as revoked.")


@pytest.mark.parametrize("policy", list(HostKeyPolicy))
def test_r104_case_298_lists_of_revoked_keys_refuse_whatever_the_policy(
    policy: HostKeyPolicy, tmp_path: Path
) -> None:
    for add in (
        lambda made: made.add_key(KEY),
        lambda made: made.add_key(CA.public),
        lambda made: made.add_serials(7, authority=CA.public),
        lambda made: made.add_key_id("five minutes"),
    ):
        made = RevocationList()
        add(made)
        lists = [("first", RevocationList()), ("second", made)]
        scene = show(of_host(), vouch(), policy=policy, revocations=lambda lists=lists: lists)
        said = refused(scene, HostKeyRevoked)
        assert said == f"Host key ED25519-CERT {KEY.fingerprint()} revoked by file second"
    path = tmp_path / "none"
    scene = show(
        of_host(), vouch(), policy=policy, revocations=lambda: revocation_lists([str(path)])
    )
    assert f"revoked keys file {path}: No such file" in refused(scene, HostKeyRejected)


def test_case_301_a_plain_key_is_looked_up_in_the_lists_too(tmp_path: Path) -> None:
    for data, kind in (
        (KEY.to_line().encode(), HostKeyRevoked),
        (b"SSHKRL\n\0 and no more", HostKeyRejected),
        (b"", HostKeyRejected),
    ):
        path = tmp_path / "revoked"
        path.write_bytes(data)
        scene = Scene(
            keys=[MemoryKeys([ED25519])],
            script=[GRANT],
            policy=HostKeyPolicy.OFF,
            records=record(KEY),
            check={"revocations": lambda: revocation_lists([str(path)])},  # noqa: B023
        ).play()
        refused(scene, kind)


# Our own


def user(key: PrivateKey, **changes: Any) -> Certificate:
    return user_certificate(key.public, "user", **changes)


def write_certificate(path: Path, certificate: Certificate) -> Path:
    path.write_text(certificate.to_line() + "\n")
    return path


def shown(scene: Scene) -> list[tuple[bytes, str]]:
    return [(fields.key_blob, fields.algorithm) for _, fields in scene.requests if fields]


PLAN = {"key_algorithms": with_certificates(USER_KEY_ALGORITHMS)}


def source(
    *paths: Path, listed: Sequence[Path] = (), journal: Journal | None = None
) -> CertifiedKeys:
    return CertifiedKeys(
        file_keys(*paths),
        listed=[str(path) for path in listed],
        beside=() if listed else [str(path) for path in paths],
        journal=journal or Journal(),
    )


def test_what_is_named_comes_first_and_what_lies_beside_a_key_behind_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    other = PrivateKey.generate("ecdsa")
    write_key(first, ED25519)
    write_key(second, other)
    of_first = write_certificate(tmp_path / "first-cert.pub", user(ED25519))
    of_second = write_certificate(tmp_path / "second-cert.pub", user(other))
    blobs = {
        "key 1": ED25519.public.blob, "key 2": other.public.blob,
        "certificate 1": user_blob(of_first), "certificate 2": user_blob(of_second),
    }  # fmt: skip
    for listed_files, expected in (
        ((), ["key 1", "certificate 1", "key 2", "certificate 2"]),
        ((of_second,), ["certificate 2", "key 1", "key 2"]),
        ((of_second, of_first), ["certificate 2", "certificate 1", "key 1", "key 2"]),
    ):
        scene = Scene(
            keys=[source(first, second, listed=listed_files)],
            script=[no("publickey")] * 5,
            plan=PLAN,
            client={"host_key_algorithms": ALL_NAMES},
        ).play()
        names = {blob: name for name, blob in blobs.items()}
        assert [names[blob] for blob, _ in shown(scene)] == expected
        assert not scene.granted


def user_blob(path: Path) -> bytes:
    return Certificate.from_line(path.read_text()).blob


def test_a_certificate_is_shown_by_its_own_name_and_its_key_signs(tmp_path: Path) -> None:
    path = write_key(tmp_path / "id", RSA)
    certificate = user(RSA)
    write_certificate(tmp_path / "id-cert.pub", certificate)
    scene = Scene(
        keys=[source(path)],
        script=[no("publickey"), GRANT],
        plan=PLAN,
        server=listed("rsa-sha2-256", "ssh-ed25519"),
    ).play()
    assert scene.granted
    # What the server takes are names of signatures, and RSA's says which hash.
    assert shown(scene)[-1] == (certificate.blob, certified("rsa-sha2-256"))
    _, fields = scene.requests[-1]
    assert fields.signature.startswith(b"\0\0\0\x0crsa-sha2-256")


def test_certificates_that_are_none_or_for_other_keys_are_left_out(tmp_path: Path) -> None:
    path = write_key(tmp_path / "id", ED25519)
    beside = tmp_path / "id-cert.pub"
    lines: list[str] = []
    for text in (
        "", "ssh-ed25519-cert-v01@openssh.com AAAA\n", f"{ED25519.public.to_line()}\n",
        host_certificate(ED25519.public, "user").to_line(),
    ):  # fmt: skip
        beside.write_text(text)
        found: list[Identity] = []
        source(path, journal=Journal(99, lines.append)).identities(found.extend)
        assert [identity.name for identity in found] == [str(path)], text
    assert any("not a user certificate" in line for line in lines)
    write_certificate(beside, user(RSA))
    scene = Scene(keys=[source(path)], script=[no("publickey")] * 2, plan=PLAN).play()
    assert [blob for blob, _ in shown(scene)] == [ED25519.public.blob]
    # Nobody holds the key of what is named: there is nothing to show it with.
    alone: list[Identity] = []
    source(path, listed=[beside]).identities(alone.extend)
    assert [identity.name for identity in alone] == [str(path)]


def test_a_locked_key_is_offered_by_its_certificate_and_opened_when_that_is_taken(
    tmp_path: Path,
) -> None:
    path = write_key(tmp_path / "id", ED25519, b"secret")
    write_certificate(tmp_path / "id-cert.pub", user(ED25519))
    answers = Answers()
    answers.passphrases = [b"secret"]
    keys = CertifiedKeys(
        file_keys(path, prompter=answers), listed=(), beside=[str(path)], journal=Journal()
    )
    scene = Scene(
        keys=[keys],
        script=[no("publickey"), pk_ok, GRANT],
        plan=PLAN,
        answers=answers,
    ).play()
    assert scene.granted
    assert [word for word, *_ in answers.asked] == ["passphrase"]


def test_nobody_is_shown_a_certificate_where_its_algorithm_is_not_listed(tmp_path: Path) -> None:
    path = write_key(tmp_path / "id", ED25519)
    write_certificate(tmp_path / "id-cert.pub", user(ED25519))
    scene = Scene(
        keys=[source(path)],
        script=[no("publickey")] * 2,
        plan={"key_algorithms": USER_KEY_ALGORITHMS},
    ).play()
    assert [blob for blob, _ in shown(scene)] == [ED25519.public.blob]


def test_a_certificate_in_memory_signs_too() -> None:
    identity = MemoryIdentity(Certified(ED25519, user(ED25519, now=time.time())))  # type: ignore[arg-type]
    got: list[bytes | None] = []
    identity.sign(b"data", certified("ssh-ed25519"), got.append)
    assert got[0] is not None
    assert ED25519.public.verify(b"data", got[0], algorithm="ssh-ed25519")
