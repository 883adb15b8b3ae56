# SPDX-License-Identifier: MIT
"""An agent's side of a connection, in memory: what it answers to whom."""

import secrets
from collections.abc import Callable
from typing import Any

import pytest
from tests.agent.talk import ECDSA, ED25519, HERE, HOST_A, HOST_B, HOST_C, RSA, Talk, hop

from tellin.agent import messages
from tellin.agent.client import (
    AgentConversation,
    add_request,
    bind_request,
    extensions,
    identities,
    sign_request,
    signature,
    succeeded,
)
from tellin.agent.constraints import Constraints, Destination, Hop, HostKey
from tellin.agent.credentials import Credential
from tellin.agent.keyring import Held, Keyring
from tellin.agent.messages import MOST_BYTES, MOST_IDENTITIES, Failure, framed
from tellin.agent.session import LONGEST_SESSION_ID, MOST_BINDINGS
from tellin.errors import MalformedPacket, SignatureFailed
from tellin.keys.certificates import FOREVER, Certificate, CertificateRole
from tellin.keys.private import PrivateKey
from tellin.userauth.messages import signed_data
from tellin.wire import Message, string

# Keys


@pytest.mark.parametrize("key", [ED25519, ECDSA, RSA], ids=lambda key: key.public.kind)
def test_a_key_is_kept_shown_used_and_forgotten(key: PrivateKey) -> None:
    talk = Talk()
    assert talk.add(key)
    assert talk.names() == [key.comment]
    assert talk.signs(key)
    assert succeeded(talk.ask(messages.RemoveIdentity(key.public.blob)))
    assert talk.names() == []
    assert not talk.signs(key)
    assert not succeeded(talk.ask(messages.RemoveIdentity(key.public.blob)))


def test_a_key_that_comes_again_gets_the_new_comment_and_constraints() -> None:
    talk = Talk()
    assert talk.add(ED25519, lifetime=5)
    assert talk.add(ED25519.with_comment("renamed"))
    talk.now += 10
    assert talk.names() == ["renamed"]


def test_all_keys_are_forgotten_at_once() -> None:
    talk = Talk()
    assert talk.add(ED25519)
    assert talk.add(ECDSA)
    assert succeeded(talk.ask(messages.RemoveAllIdentities()))
    assert talk.names() == []


@pytest.mark.parametrize(
    ("flags", "algorithm"),
    [(0, "ssh-rsa"), (2, "rsa-sha2-256"), (4, "rsa-sha2-512"), (6, "rsa-sha2-512")],
)
def test_the_flags_choose_the_hash_of_an_rsa_signature(flags: int, algorithm: str) -> None:
    talk = Talk()
    talk.add(RSA)
    reply = talk.ask(messages.SignRequest(RSA.public.blob, b"data", flags))
    assert RSA.public.verify(
        b"data", reply.signature, algorithm=algorithm, sha1=algorithm == "ssh-rsa"
    )


def test_r077_a_signature_by_another_method_than_asked_for_is_not_taken() -> None:
    talk = Talk()
    talk.add(RSA)
    weak = talk.ask(messages.SignRequest(RSA.public.blob, b"data", 0))
    assert signature(weak, RSA.public, b"data", "rsa-sha2-512") is None
    other = talk.ask(messages.SignRequest(RSA.public.blob, b"other", 4))
    assert signature(other, RSA.public, b"data", "rsa-sha2-512") is None


# Bad input


@pytest.mark.parametrize("size", [0, MOST_BYTES + 1, 0xFFFFFFFF])
def test_r155_case_262_a_length_out_of_bounds_ends_the_connection_at_once(size: int) -> None:
    with pytest.raises(MalformedPacket):
        Talk().session.received(size.to_bytes(4, "big"), 0.0)
    user = AgentConversation()
    user.ask(messages.RequestIdentities(), lambda reply: None)
    with pytest.raises(MalformedPacket):
        user.received(size.to_bytes(4, "big"))


def test_r155_a_list_of_more_identities_than_anybody_has_is_refused_unread() -> None:
    count = (MOST_IDENTITIES + 1).to_bytes(4, "big")
    body = b"\x0c" + count + bytes(8 * (MOST_IDENTITIES + 1))
    user = AgentConversation()
    user.ask(messages.RequestIdentities(), lambda reply: None)
    with pytest.raises(MalformedPacket, match="2049 keys"):
        user.received(string(body))


def test_r155_an_agent_keeps_no_more_keys_than_a_reply_may_list() -> None:
    talk = Talk()
    held = Held(Credential(ED25519), "", Constraints(), None)
    full = {number.to_bytes(4, "big"): held for number in range(MOST_IDENTITIES)}
    talk.keyring._keys.update(full)
    talk.keyring.expire = lambda now: None  # type: ignore[method-assign]
    assert not talk.add(ED25519)
    talk.keyring._keys.popitem()
    assert talk.add(ED25519)


def test_r155_an_agent_keeps_no_more_than_a_reply_can_show() -> None:
    """A longer list no client reads: whoever may add keys could hide those that are there."""
    talk = Talk()
    assert talk.add(ECDSA)
    room = MOST_BYTES - 5 - 8 - len(ECDSA.public.blob) - len(ECDSA.comment) - 8
    comment = "\u00e9" * ((room - len(ED25519.public.blob)) // 2)
    for longer in ("more", "\u00e9"):
        assert not talk.keeps(ED25519.with_comment(comment + longer))
        assert talk.names() == ["other"]
    assert talk.keeps(ED25519.with_comment(comment))
    assert talk.names() == ["other", comment]
    # The same key with a shorter comment takes its own place.
    assert talk.keeps(ED25519.with_comment("short"))
    assert talk.names() == ["other", "short"]


@pytest.mark.parametrize("number", [0, 1, 5, 6, 12, 14, 16, 24, 28, 99, 255])
def test_r152_case_263_an_unknown_request_is_refused(number: int) -> None:
    assert Talk().raw(bytes((number,))) == framed(Failure())


@pytest.mark.parametrize("number", [13, 17, 18, 20, 21, 22, 23, 25, 26, 27])
def test_r152_a_request_cut_short_is_refused(number: int) -> None:
    talk = Talk()
    talk.add()
    for rest in (b"", b"\0", b"\0\0\0\x09abc", b"\xff" * 8):
        assert talk.raw(bytes((number,)) + rest) == framed(Failure())
    assert talk.names() == ["mine"]
    assert not talk.keyring.locked


def test_case_265_signing_what_cannot_be_signed_is_refused() -> None:
    talk = Talk()
    talk.add(RSA)
    assert isinstance(talk.ask(messages.SignRequest(ECDSA.public.blob, b"x", 0)), Failure)
    assert isinstance(talk.ask(messages.SignRequest(RSA.public.blob, b"x", 8)), Failure)
    assert isinstance(talk.ask(messages.SignRequest(b"no key", b"x", 0)), Failure)


def test_case_266_a_damaged_private_key_is_not_kept() -> None:
    talk = Talk()
    good = ED25519.encode()
    comment = string(b"c")
    other = PrivateKey.generate("ed25519").encode()
    swapped = good[:51] + other[51:]
    for bad in (good[:-1], good + b"\0", swapped, RSA.encode()[:-9] + bytes(9)):
        assert isinstance(talk.ask(messages.AddIdentity(bad + comment)), Failure)
    # What stands behind the comment is not for this request.
    assert isinstance(talk.ask(messages.AddIdentity(good + comment + b"\x02")), Failure)
    assert talk.names() == []


@pytest.mark.parametrize(
    "bounds",
    [
        b"\x03\0\0\0\x01",
        b"\x07",
        b"\x01\0\0\0\0",
        b"\x01\xff\xff\xff\xff",
        b"\x01\0\0",
        b"\x01\0\0\0\x05\x01\0\0\0\x06",
        b"\xff" + string(b"unknown@example.com") + string(b""),
        b"\xff" + string(b"restrict-destination-v00@openssh.com") + string(b""),
        b"\xff" + string(b"restrict-destination-v00@openssh.com") + string(string(b"")),
        b"\xff" + string(b"sk-provider@openssh.com") + string(b"internal"),
    ],
    ids=repr,
)
def test_r153_case_267_a_key_with_a_constraint_that_nobody_enforces_is_not_kept(
    bounds: bytes,
) -> None:
    talk = Talk()
    body = ED25519.encode() + string(b"c") + bounds
    assert isinstance(talk.ask(messages.AddIdentityConstrained(body)), Failure)
    assert talk.names() == []


def test_case_267_confirmation_without_anybody_to_ask_is_refused() -> None:
    talk = Talk(can_confirm=False)
    assert not talk.add(confirm=True)
    assert talk.names() == []


def test_case_271_requests_may_come_together_or_byte_by_byte() -> None:
    for piece in (1, 7, 1 << 20):
        talk = Talk()
        for key in (ED25519, ECDSA):
            talk.user.ask(add_request(key, Constraints()), talk.replies.append)
        talk.user.ask(messages.RequestIdentities(), talk.replies.append)
        talk.carry(piece=piece)
        assert [type(reply).__name__ for reply in talk.replies] == [
            "Success",
            "Success",
            "IdentitiesAnswer",
        ]


def test_a_peer_that_reads_nothing_is_not_served_for_ever() -> None:
    talk = Talk()
    request = framed(messages.RequestIdentities())
    talk.add(RSA)
    while talk.session.reading:
        talk.session.received(request, talk.now)
    waiting = len(talk.session._out)
    talk.session.received(request * 100, talk.now)
    assert len(talk.session._out) == waiting
    while talk.session.take():
        talk.session.received(b"", talk.now)
    assert talk.session.reading


# Certificates


AUTHORITY = PrivateKey.generate("ed25519")


def certificate(key: PrivateKey, **named: Any) -> Certificate:
    return Certificate.issue(
        AUTHORITY,
        key.public,
        role=CertificateRole.USER,
        key_id="who",
        principals=["me"],
        valid_before=FOREVER,
        **named,
    )


@pytest.mark.parametrize("key", [ED25519, ECDSA, RSA], ids=lambda key: key.public.kind)
def test_a_key_is_known_by_its_certificate(key: PrivateKey) -> None:
    talk = Talk()
    made = certificate(key)
    assert succeeded(talk.ask(add_request(key, Constraints(), certificate=made)))
    (found,) = identities(talk.ask(messages.RequestIdentities())) or ()
    assert found == made
    algorithm = made.signature_algorithms[0]
    reply = talk.ask(sign_request(made, b"data", algorithm))
    assert signature(reply, made, b"data", algorithm) is not None
    assert not talk.signs(key)
    assert succeeded(talk.ask(messages.RemoveIdentity(made.blob)))
    assert talk.names() == []


def test_case_266_a_certificate_without_its_key_is_not_kept() -> None:
    talk = Talk()
    made = certificate(ED25519)
    other = PrivateKey.generate("ed25519")
    name = string(made.key_type.encode())
    numbers = other.encode()[len(string(b"ssh-ed25519")) :]
    for body in (
        name + string(made.blob) + numbers,
        name + string(made.blob),
        name + string(made.blob[:-1]) + numbers,
        string(certificate(ECDSA).key_type.encode()) + string(made.blob) + numbers,
    ):
        assert isinstance(talk.ask(messages.AddIdentity(body + string(b"c"))), Failure)
    assert talk.names() == []


def test_a_host_with_a_certificate_is_known_by_its_authority() -> None:
    host = Certificate.issue(
        AUTHORITY,
        HOST_A.public,
        role=CertificateRole.HOST,
        key_id="host",
        principals=["a"],
        valid_before=FOREVER,
    )
    by_authority = (HostKey(AUTHORITY.public.blob, True),)
    for name, right in (("a", True), ("b", False)):
        talk = Talk()
        talk.add(destinations=(Destination(HERE, Hop("", name, by_authority)),))
        proof = HOST_A.sign(b"sid")
        request = bind_request(host.blob, b"sid", proof, forwarding=False)
        assert succeeded(talk.ask(request))
        assert talk.names() == (["mine"] if right else [])
        # What the authority signs for is not what it signs by.
        plain = Talk()
        plain.add(destinations=(Destination(HERE, Hop("", name, by_authority)),))
        assert plain.binds(AUTHORITY, b"sid")
        assert plain.names() == []


# Time


def test_case_275_an_expired_key_signs_nothing() -> None:
    talk = Talk()
    assert talk.add(lifetime=60)
    assert talk.add(ECDSA)
    talk.now += 59
    assert talk.names() == ["mine", "other"]
    assert talk.keyring.deadline() == 1060
    talk.now += 1
    assert not talk.signs()
    assert talk.names() == ["other"]
    assert talk.keyring.deadline() is None


def test_a_lifetime_for_keys_that_come_without_one() -> None:
    talk = Talk(Keyring(random=secrets.token_bytes, lifetime=10))
    talk.add()
    talk.add(ECDSA, lifetime=20)
    talk.now += 10
    assert talk.names() == ["other"]


# Consent


def test_a_key_that_asks_its_owner_signs_only_when_he_says_so() -> None:
    for allowed in (True, False):
        talk = Talk()
        talk.add(confirm=True)
        assert not talk.signs()
        question = talk.session.question
        assert question is not None
        assert (question.comment, question.forwarded) == ("mine", False)
        assert question.fingerprint == ED25519.public.fingerprint()
        assert not talk.session.reading
        # What comes meanwhile waits its turn.
        talk.user.ask(messages.RequestIdentities(), talk.replies.append)
        talk.carry()
        waiting = len(talk.replies)
        talk.session.answer(allowed, talk.now)
        talk.carry()
        reply, listed = talk.replies[waiting:]
        assert (signature(reply, ED25519.public, b"data", "ssh-ed25519") is not None) is allowed
        assert identities(listed)
        assert talk.session.reading


class Faulty:
    """The secret half of a key whose arithmetic has a fault (R044)."""

    def __init__(self) -> None:
        self.key_type = "ssh-ed25519"
        self.public_blob = ED25519.public.blob
        self.native: Any = None

    def sign(self, data: bytes, hash_name: str) -> bytes:
        raise SignatureFailed("thrown away")

    def fields(self) -> bytes:
        raise NotImplementedError


@pytest.mark.parametrize("confirm", [False, True])
def test_r044_a_key_that_fails_costs_its_signature_and_no_other_key(confirm: bool) -> None:
    talk = Talk()
    talk.add(ECDSA)
    credential = Credential(PrivateKey(Faulty()))
    talk.keyring.add(credential, "", Constraints(confirm=confirm), talk.now)
    assert not talk.signs()
    if confirm:
        talk.session.answer(True, talk.now)
        talk.carry()
    assert isinstance(talk.replies[-1], Failure)
    assert talk.signs(ECDSA)


def test_case_275_consent_comes_too_late_for_a_key_that_is_gone() -> None:
    def expire(talk: Talk) -> None:
        talk.now += 100

    def remove(talk: Talk) -> None:
        talk.keyring.clear()

    def lock(talk: Talk) -> None:
        talk.keyring.lock(b"x")

    happenings: tuple[Callable[[Talk], None], ...] = (expire, remove, lock)
    for happening in happenings:
        talk = Talk()
        talk.add(confirm=True, lifetime=60)
        talk.signs()
        happening(talk)
        talk.session.answer(True, talk.now)
        talk.carry()
        assert isinstance(talk.replies[-1], Failure)


# The lock


def test_case_270_a_locked_agent_shows_and_does_nothing() -> None:
    talk = Talk()
    talk.add()
    assert succeeded(talk.ask(messages.Lock(b"secret")))
    assert not succeeded(talk.ask(messages.Lock(b"secret")))
    assert talk.names() == []
    assert not talk.signs()
    assert not talk.add(ECDSA)
    assert not succeeded(talk.ask(messages.RemoveAllIdentities()))
    assert extensions(talk.ask(messages.Extension(messages.QUERY, b""))) is None
    assert succeeded(talk.ask(messages.Unlock(b"secret")))
    assert not succeeded(talk.ask(messages.Unlock(b"secret")))
    assert talk.names() == ["mine"]


def test_r156_case_270_wrong_passphrases_wait_longer_each_time_whoever_tries() -> None:
    talk = Talk()
    talk.add()
    talk.ask(messages.Lock(b"secret"))
    waited = []
    for _ in range(4):
        other = Talk(talk.keyring)
        other.now = talk.now
        reply = other.ask(messages.Unlock(b"wrong"))
        start = other.now
        while reply is None:
            assert not other.session.reading
            due = other.session.deadline()
            assert due is not None
            other.session.tick(due - 0.01)
            assert not other.session.take()
            other.now = due
            other.session.tick(other.now)
            other.carry()
            reply = other.replies[-1] if other.replies else None
        waited.append(round(other.now - start, 3))
        assert isinstance(reply, Failure)
        talk.now = other.now
    assert waited == [0.0, 0.1, 0.2, 0.3]
    talk.now += 100
    assert succeeded(talk.ask(messages.Unlock(b"secret")))


def test_r156_two_who_guess_at_once_take_turns() -> None:
    ring = Keyring(random=secrets.token_bytes)
    ring.lock(b"secret")
    ring.unlock(b"wrong", 0.0)
    first, second = Talk(ring), Talk(ring)
    for each in (first, second):
        each.now = 0.0
        assert each.ask(messages.Unlock(b"wrong")) is None
    due = ring.next_try
    first.session.tick(due)
    second.session.tick(due)
    assert first.session.take()
    assert not second.session.take()
    assert second.session.deadline() == ring.next_try > due


def test_secrets_do_not_show() -> None:
    assert "hush" not in repr(messages.Lock(b"hush"))
    assert "hush" not in repr(messages.Unlock(b"hush"))
    assert "hush" not in repr(messages.AddIdentity(b"hush"))
    ring = Keyring(random=secrets.token_bytes)
    ring.lock(b"hush")
    assert "hush" not in repr(ring._padlock)
    assert "digest=<hidden>" in repr(ring._padlock)


# Destinations


TO_A = Destination(HERE, hop(HOST_A, "a"))
A_TO_B = Destination(hop(HOST_A, "a"), hop(HOST_B, "b", "you*"))


def test_a_key_kept_to_destinations_logs_in_there_and_nowhere_else() -> None:
    for host, right in ((HOST_A, True), (HOST_B, False)):
        talk = Talk()
        assert talk.add(destinations=(TO_A,))
        assert talk.names() == ["mine"]
        assert talk.binds(host, b"sid")
        assert talk.names() == (["mine"] if right else [])
        assert talk.logs_in(b"sid", host=host) is right


def test_a_key_kept_to_destinations_signs_nothing_over_a_connection_that_is_not_bound() -> None:
    talk = Talk()
    talk.add(destinations=(TO_A,))
    assert not talk.logs_in(b"sid", host=HOST_A)
    assert not talk.signs()


def test_a_key_kept_to_destinations_signs_logins_only() -> None:
    talk = Talk()
    talk.add(destinations=(TO_A,))
    talk.binds(HOST_A, b"sid")
    assert not talk.signs()
    assert not talk.logs_in(b"sid", host=HOST_A, service="ssh-other")
    assert not talk.logs_in(b"other", host=HOST_A)
    assert not talk.logs_in(b"sid", host=HOST_B)
    # At the first hop an ssh may not say the host key.
    assert talk.logs_in(b"sid", host=None)
    data = signed_data(b"sid", user="me", algorithm="ssh-ed25519", key_blob=ECDSA.public.blob)
    assert not talk.signs(ED25519, data)


def test_a_forwarded_agent_logs_in_only_where_the_next_hop_is_permitted() -> None:
    talk = Talk()
    talk.add(destinations=(TO_A, A_TO_B))
    talk.add(ECDSA, destinations=(TO_A,))
    assert talk.binds(HOST_A, b"one", forwarding=True)
    # The host sees what may be used beyond it, and not what may only log in to it.
    assert talk.names() == ["mine"]
    assert not talk.logs_in(b"one", host=HOST_A)
    assert talk.binds(HOST_B, b"two")
    assert talk.logs_in(b"two", user="you2", host=HOST_B)
    assert not talk.logs_in(b"two", user="me", host=HOST_B)
    assert not talk.logs_in(b"two", user="you2", host=None)
    assert not talk.logs_in(b"one", user="you2", host=HOST_A)


def test_a_forwarded_agent_refuses_a_hop_that_nobody_permitted() -> None:
    talk = Talk()
    talk.add(destinations=(TO_A, A_TO_B))
    assert talk.binds(HOST_A, b"one", forwarding=True)
    assert talk.binds(HOST_C, b"two")
    assert talk.names() == []
    assert not talk.logs_in(b"two", user="you", host=HOST_C)


def test_a_host_cannot_loosen_or_remove_a_key_that_it_may_not_see() -> None:
    talk = Talk()
    talk.add(destinations=(TO_A,))
    talk.binds(HOST_C, b"sid", forwarding=True)
    assert not talk.add()
    assert not succeeded(talk.ask(messages.RemoveIdentity(ED25519.public.blob)))
    assert not talk.logs_in(b"sid", host=HOST_C)


@pytest.mark.parametrize("how", ["signature", "empty", "long", "cut", "key"])
def test_case_269_a_binding_that_fails_leaves_nothing_to_kept_keys(how: str) -> None:
    talk = Talk()
    talk.add(destinations=(TO_A,))
    talk.add(ECDSA)
    proof = HOST_A.sign(b"sid")
    contents = {
        "signature": messages.SessionBind(HOST_A.public.blob, b"sid", HOST_A.sign(b"x"), False),
        "empty": messages.SessionBind(HOST_A.public.blob, b"", HOST_A.sign(b""), False),
        "long": messages.SessionBind(
            HOST_A.public.blob,
            bytes(LONGEST_SESSION_ID + 1),
            HOST_A.sign(bytes(LONGEST_SESSION_ID + 1)),
            False,
        ),
        "key": messages.SessionBind(b"nonsense", b"sid", proof, False),
        "cut": None,
    }[how]
    body = b"\0\0" if contents is None else contents.encode()
    assert not succeeded(talk.ask(messages.Extension(messages.SESSION_BIND, body)))
    assert talk.names() == ["other"]
    # Not even if it succeeds later: who lied once is not believed.
    talk.binds(HOST_A, b"sid")
    assert talk.names() == ["other"]
    assert not talk.logs_in(b"sid", host=HOST_A)
    assert talk.signs(ECDSA)


def test_case_269_a_session_is_bound_to_one_host_key() -> None:
    talk = Talk()
    assert talk.binds(HOST_A, b"sid", forwarding=True)
    assert talk.binds(HOST_A, b"sid", forwarding=True)
    assert not talk.binds(HOST_B, b"sid", forwarding=True)


def test_case_269_nothing_is_bound_behind_a_login() -> None:
    talk = Talk()
    talk.add(destinations=(TO_A, A_TO_B))
    assert talk.binds(HOST_A, b"one")
    assert not talk.binds(HOST_B, b"two")
    assert not talk.logs_in(b"one", host=HOST_A)


def test_case_269_hops_are_bounded() -> None:
    talk = Talk()
    for number in range(MOST_BINDINGS):
        assert talk.binds(HOST_A, b"%d" % number, forwarding=True)
    assert not talk.binds(HOST_A, b"one more", forwarding=True)


def test_r154_a_session_is_bound_while_the_agent_is_locked() -> None:
    talk = Talk()
    talk.add(destinations=(TO_A,))
    talk.ask(messages.Lock(b"x"))
    assert talk.binds(HOST_C, b"sid", forwarding=True)
    talk.ask(messages.Unlock(b"x"))
    assert talk.names() == []


def test_the_agent_says_which_extensions_it_has() -> None:
    asked = Talk().ask(messages.Extension(messages.QUERY, b""))
    assert extensions(asked) == ["query", "session-bind@openssh.com"]
    assert isinstance(Talk().ask(messages.Extension("nonsense@example.com", b"")), Failure)


# The user's side


def test_r152_a_hostile_agent_costs_a_connection_and_nothing_more() -> None:
    for bad in (string(b"\x63"), string(b"\x0c\xff\xff\xff\xff"), string(b"\x0e\0\0\0\x09a")):
        user = AgentConversation()
        replies: list[Message | None] = []
        user.ask(messages.RequestIdentities(), replies.append)
        with pytest.raises(MalformedPacket):
            user.received(bad)
        user.lost()
        assert replies == [None]


def test_a_reply_that_nobody_asked_for_is_refused() -> None:
    with pytest.raises(MalformedPacket, match="nobody asked"):
        AgentConversation().received(framed(Failure()))


def test_keys_of_unknown_kinds_are_passed_over() -> None:
    known = (ED25519.public.blob, "mine")
    answer = messages.IdentitiesAnswer(((string(b"ssh-new") + b"x", "new"), known))
    found = identities(answer)
    assert found is not None
    assert [key.comment for key in found] == ["mine"]
    assert identities(Failure()) is None
    assert identities(None) is None
