# SPDX-License-Identifier: MIT
"""UpdateHostKeys: what a server must sign before its keys are learnt, and what it is asked to sign."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tellin.client.hosts.host_key_updates import HostKeyUpdates
from tellin.config.host_key_updates import survey, updated
from tellin.config.known_hosts import KnownHosts, host_name, make_line
from tellin.connection.host_keys import (
    HOST_KEYS,
    HOST_KEYS_PROVE,
    MOST_KEYS,
    HostKeyProofs,
    HostKeys,
    claim,
)
from tellin.connection.machine import ConnectionSettings
from tellin.errors import MalformedPacket
from tellin.keys import PrivateKey, PublicKey
from tellin.protocol.events import GlobalReplied, GlobalRequested
from tellin.runtime.journal import DEBUG3, Journal
from tellin.server.host_key_proofs import HostKeyProver
from tellin.testing.loopback import Loopback
from tellin.testing.pairs import HOST_KEY, make_pair

NEW = [PrivateKey.generate("ed25519") for _ in range(2)]
RSA = PrivateKey.generate("rsa", bits=2048)
TYPES = {"ssh-ed25519", "ssh-rsa"}


def line(key: PublicKey, *names: str) -> str:
    return make_line(names or ("host",), key.key_type, key.blob) + "\n"


class Talk:
    """A client and a server in memory, logged in."""

    def __init__(self, path: Path, keys: Sequence[PrivateKey], known: str, **more: Any) -> None:
        self.path = path
        path.write_text(known, "ascii")
        self.words: list[str] = []
        self.pair: Loopback = make_pair(
            client_core={"connection": ConnectionSettings(global_requests=frozenset({HOST_KEYS}))},
            server_core={
                "connection": ConnectionSettings(global_requests=frozenset({HOST_KEYS_PROVE}))
            },
        )
        self.pair.log_in()
        self.keys = {key.public.blob: key for key in keys}
        self.asked: list[tuple[bytes, str, bytes]] = []
        self.forged: tuple[bytes, ...] | None = None
        self.prover = HostKeyProver(
            self.pair.server, list(self.keys), sign=self.sign, flush=lambda: None
        )
        self.updates = HostKeyUpdates(
            self.pair.client,
            [str(path)],
            ["host"],
            key_types=TYPES,
            journal=Journal(DEBUG3, self.words.append),
            flush=lambda: None,
            **more,
        )
        self.pair.answers[GlobalRequested] = self.requested
        self.pair.answers[GlobalReplied] = lambda core, event: self.updates.proved(event)

    def sign(self, blob: bytes, algorithm: str, data: bytes, done: Any) -> None:
        self.asked.append((blob, algorithm, data))
        done(self.keys[blob].sign(data, algorithm))

    def requested(self, core: Any, event: GlobalRequested) -> None:
        if core is self.pair.client:
            self.updates.told(event)
        elif self.forged is not None:
            core.answer_global(True, HostKeyProofs(self.forged).encode(), event.debt)
        else:
            self.prover.prove(event)

    def go(self) -> str:
        self.prover.announce()
        self.pair.pump()
        assert not self.pair.client.closed
        return self.path.read_text("ascii")

    def tell(self, data: bytes) -> str:
        self.pair.server.request(HOST_KEYS, data)
        self.pair.pump()
        return self.path.read_text("ascii")

    def said(self, part: str) -> bool:
        return any(part in word for word in self.words)


KNOWN = line(HOST_KEY.public)


def test_what_a_server_proves_is_learnt_and_stands_behind_the_rest(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "f", [HOST_KEY, *NEW, RSA], f"# mine\n{KNOWN}broken line")
    assert talk.go() == f"# mine\n{KNOWN}broken line\n" + "".join(
        line(key.public) for key in (*NEW, RSA)
    )
    # Signed is what can stand for nothing else: this purpose, this session, this key.
    session = talk.pair.client.session_id
    assert talk.asked == [
        (key.public.blob, algorithm, claim(session, key.public.blob))
        for key, algorithm in zip(
            (*NEW, RSA), ("ssh-ed25519", "ssh-ed25519", "rsa-sha2-512"), strict=True
        )
    ]


def test_nothing_is_asked_where_all_is_known(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "f", [HOST_KEY], KNOWN)
    before = talk.path.stat().st_ino
    assert talk.go() == KNOWN
    assert (talk.asked, talk.path.stat().st_ino) == ([], before)


def test_keys_that_are_not_offered_any_more_go_without_a_proof(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "f", [HOST_KEY], line(NEW[0].public) + KNOWN)
    assert talk.go() == KNOWN
    assert not talk.asked


def test_a_no_leaves_everything_as_it_was(tmp_path: Path) -> None:
    asked: list[bool] = []
    talk = Talk(
        tmp_path / "f", [HOST_KEY, NEW[0]], KNOWN, ask=lambda: asked.append(True) is not None
    )
    assert talk.go() == KNOWN
    assert asked == [True]


def proofs(talk: Talk, *signatures: bytes) -> str:
    """What becomes of the file when the server answers a request with this."""
    talk.forged = signatures
    return talk.go()


def good(talk: Talk, key: PrivateKey, algorithm: str = "ssh-ed25519") -> bytes:
    return key.sign(claim(talk.pair.client.session_id, key.public.blob), algorithm)


def test_one_wrong_signature_and_no_key_is_learnt(tmp_path: Path) -> None:
    for wrong in range(4):
        talk = Talk(tmp_path / "f", [HOST_KEY, *NEW], KNOWN)
        right = good(talk, NEW[0])
        forged = (
            right,  # another key's
            NEW[1].sign(claim(bytes(32), NEW[1].public.blob), "ssh-ed25519"),  # another session's
            NEW[1].sign(talk.pair.client.session_id, "ssh-ed25519"),  # for another purpose
            b"",
        )[wrong]
        assert proofs(talk, right, forged) == KNOWN
        assert talk.said("server gave bad signature for ED25519 key")


def test_too_few_and_too_many_signatures_teach_nothing(tmp_path: Path) -> None:
    for count in (1, 3):
        talk = Talk(tmp_path / "f", [HOST_KEY, *NEW], KNOWN)
        signatures = [good(talk, key) for key in (*NEW, NEW[0])][:count]
        assert proofs(talk, *signatures) == KNOWN
        assert talk.said(f"{count} signatures where 2 were asked for")


def test_r047_an_rsa_key_that_signs_by_sha_1_is_not_learnt_and_the_others_are(
    tmp_path: Path,
) -> None:
    talk = Talk(tmp_path / "f", [HOST_KEY, RSA, NEW[0]], KNOWN)
    old = RSA.sign(claim(talk.pair.client.session_id, RSA.public.blob), "ssh-rsa", sha1=True)
    assert proofs(talk, old, good(talk, NEW[0])) == KNOWN + line(NEW[0].public)
    assert talk.said("untrusted RSA signature algorithm")


def test_a_server_that_cannot_prove_a_key_teaches_nothing(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "f", [HOST_KEY, NEW[0]], KNOWN)
    talk.sign = lambda blob, algorithm, data, done: done(None)  # type: ignore[method-assign]
    talk.prover._sign = talk.sign
    assert talk.go() == KNOWN
    assert talk.said("Server failed to confirm ownership of private host keys")


def test_a_list_that_is_none_is_told_and_forgotten(tmp_path: Path) -> None:
    blob = NEW[0].public.blob
    for data in (
        b"\0\0\0\xff",
        HostKeys((blob, blob)).encode(),
        HostKeys((b"", b"x", b"\0\0\0\4nope")).encode(),
        b"",
        b"".join(b"\0\0\0\1" + bytes((n,)) for n in range(MOST_KEYS + 1)),
        b"\0\1\0\0" + bytes(65536),
    ):
        talk = Talk(tmp_path / "f", [], KNOWN)
        assert talk.tell(data) == KNOWN
        assert not talk.asked
    assert talk.said("client_input_hostkeys: ")


def test_a_second_list_is_passed_over(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "f", [HOST_KEY], KNOWN)
    talk.go()
    assert talk.tell(HostKeys((NEW[0].public.blob,)).encode()) == KNOWN
    assert talk.said("lists its host keys again")


def test_a_list_of_keys_is_bounded_before_it_is_read() -> None:
    assert len(HostKeys.decode(b"\0\0\0\0" * MOST_KEYS).blobs) == MOST_KEYS
    with pytest.raises(MalformedPacket, match="more than 64 host keys"):
        HostKeys.decode(b"\0\0\0\0" * (MOST_KEYS + 1))
    with pytest.raises(MalformedPacket, match="16385 bytes"):
        HostKeys.decode(b"\0\0\x40\1" + bytes(16385))


# The server's side


def answers(talk: Talk, *requests: bytes) -> list[bool]:
    talk.pair.answers[GlobalReplied] = lambda core, event: None
    for data in requests:
        talk.pair.client.request(HOST_KEYS_PROVE, data, token=talk)
    talk.pair.pump()
    return [event.success for event in talk.pair.seen(GlobalReplied)]


def test_a_server_signs_with_its_own_keys_once_each_and_nothing_else(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "f", [HOST_KEY, NEW[0]], KNOWN)
    ours, strange = HOST_KEY.public.blob, NEW[1].public.blob
    wanted = [(), (ours, ours), (strange,), (ours, strange), (b"",)]
    assert answers(talk, *(HostKeys(blobs).encode() for blobs in wanted), b"\0\0\0\xff") == (
        [False] * 6
    )
    assert not talk.asked
    assert answers(talk, HostKeys((ours,)).encode())[-1]


def test_requests_for_proofs_are_counted(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "f", [HOST_KEY], KNOWN)
    request = HostKeys((HOST_KEY.public.blob,)).encode()
    assert answers(talk, *[request] * 20) == [True] * 8 + [False] * 12
    assert len(talk.asked) == 8


def test_a_request_without_a_wish_for_an_answer_costs_no_signature(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "f", [HOST_KEY], KNOWN)
    talk.pair.client.request(HOST_KEYS_PROVE, HostKeys((HOST_KEY.public.blob,)).encode())
    talk.pair.pump()
    assert not talk.asked


# The text


OLD, KEPT, LEARNT = (key.public for key in (*NEW, HOST_KEY))


def test_only_the_plain_lines_of_the_host_are_touched() -> None:
    text = (
        f"# c\n\n{line(OLD)}@revoked {line(OLD)}{line(OLD, 'other')}  {line(KEPT)}nonsense\n"
        f"@cert-authority {line(OLD)}"
    )
    wanted = text.replace(f"# c\n\n{line(OLD)}", "# c\n\n") + line(LEARNT)
    assert updated(text, ["host"], [KEPT.blob, LEARNT.blob], [KEPT.blob, LEARNT.blob]) == wanted
    assert updated(wanted, ["host"], [KEPT.blob, LEARNT.blob], [LEARNT.blob]) == wanted


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_text_without_its_last_end_gets_one_where_it_grows(end: str) -> None:
    text = line(KEPT).strip() + end
    grown = updated(text, ["host"], [KEPT.blob, LEARNT.blob], [LEARNT.blob])
    assert grown.splitlines()[-1] + "\n" == line(LEARNT)
    assert grown.startswith(text)
    assert updated(text, ["host"], [], []) == end.removeprefix("\n")


def test_an_address_is_recorded_beside_its_name() -> None:
    names = [host_name("host", 2222), host_name("192.0.2.1", 2222)]
    text = updated(line(KEPT, names[0]), names, [KEPT.blob, LEARNT.blob], [KEPT.blob, LEARNT.blob])
    assert text == line(KEPT, names[0]) + line(KEPT, names[1]) + line(LEARNT, *names)
    found = survey(KnownHosts.parse(text), names, [KEPT.blob, LEARNT.blob])
    assert (found.obstacle, found.old) == ("", ())
    elsewhere = survey(KnownHosts.parse(line(KEPT, names[0], "192.0.2.9")), names, [KEPT.blob])
    assert elsewhere.obstacle == "known_hosts:1 has another address or name beside this one"
