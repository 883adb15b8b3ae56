# SPDX-License-Identifier: MIT
"""An agent and keys inside tokens, in memory: whom it lets load what, and what a security key signs for whom."""

import os
import socket
from typing import Any

import pytest
from tests.agent.talk import ED25519, HOST_A, Talk
from tests.keys.software_authenticator import SoftwareAuthenticator

from tellin.agent import messages
from tellin.agent.client import add_request, sign_request, succeeded
from tellin.agent.constraints import Constraints, Destination, Hop, HostKey
from tellin.agent.messages import Failure, SignResponse, framed
from tellin.agent.session import TokenPolicy
from tellin.agent.tokens import (
    KeysListed,
    ListKeys,
    Reason,
    Refused,
    Signed,
    SignWith,
    TokenError,
)
from tellin.client.authentication import tokens
from tellin.keys import load_private_key
from tellin.keys.certificates import Certificate
from tellin.keys.file_signatures import FileSignature
from tellin.keys.private import PrivateKey
from tellin.runtime.sockets import Socket
from tellin.userauth.messages import signed_data
from tellin.wire import Cursor

MODULE = "/usr/lib/module.so"
ON_TOKEN = [PrivateKey.generate("ed25519", comment=f"key {number}") for number in range(3)]
LISTED = KeysListed(tuple((key.public.blob, key.comment) for key in ON_TOKEN))
ADD = messages.AddSmartcardKey(MODULE, b"1234")


def find(provider: str) -> str | None:
    return provider if provider.startswith("/usr/lib/") else None


def talk_of(**named: Any) -> Talk:
    return Talk(tokens=TokenPolicy(find=find, **named))


def added(talk: Talk, bounds: Constraints | None = None) -> Any:
    request: Any = ADD
    if bounds is not None:
        request = messages.AddSmartcardKeyConstrained(MODULE, b"1234", bounds.encode())
    assert talk.ask(request) is None
    return talk.helper_says(LISTED)


def test_the_keys_of_a_module_are_added_shown_and_forgotten() -> None:
    talk = talk_of()
    assert talk.ask(ADD) is None
    errand = talk.session.errand
    assert errand is not None
    assert errand.request == ListKeys(MODULE, b"1234")
    assert "1234" not in repr(errand)
    assert not talk.session.reading
    assert succeeded(talk.helper_says(LISTED))
    assert talk.session.errand is None
    assert talk.names() == ["key 0", "key 1", "key 2"]
    assert talk.keyring.modules() == {MODULE}
    assert not succeeded(talk.ask(messages.RemoveSmartcardKey("/usr/lib/other.so", b"")))
    assert succeeded(talk.ask(messages.RemoveSmartcardKey(MODULE, b"")))
    assert talk.names() == []
    assert talk.keyring.modules() == set()


def test_r151_a_module_from_elsewhere_is_never_asked_for() -> None:
    talk = talk_of()
    for place in ("/tmp/module.so", "module.so", "", "internal"):
        assert isinstance(talk.ask(messages.AddSmartcardKey(place, b"")), Failure), place
        assert talk.session.errand is None


@pytest.mark.parametrize("forwarding", [True, False])
def test_r151_whoever_comes_through_a_session_loads_nothing(forwarding: bool) -> None:
    """CVE-2023-38408: the host that the agent was forwarded to chose the library."""
    talk = talk_of()
    assert succeeded(added(talk))
    assert talk.binds(HOST_A, b"sid", forwarding=forwarding)
    assert isinstance(talk.ask(ADD), Failure)
    assert isinstance(talk.ask(messages.RemoveSmartcardKey(MODULE, b"")), Failure)
    assert talk.session.errand is None
    allowed = talk_of(remote_modules=True)
    assert allowed.binds(HOST_A, b"sid", forwarding=forwarding)
    assert succeeded(added(allowed))


def test_r151_r154_whoever_lied_about_a_session_loads_nothing() -> None:
    talk = talk_of()
    assert not talk.binds(HOST_A, b"sid", signed=b"another")
    assert isinstance(talk.ask(ADD), Failure)
    # Nor whoever says it while the agent is locked.
    talk = talk_of()
    talk.ask(messages.Lock(b"x"))
    assert talk.binds(HOST_A, b"sid", forwarding=True)
    talk.ask(messages.Unlock(b"x"))
    assert isinstance(talk.ask(ADD), Failure)


def test_case_270_a_locked_agent_loads_nothing() -> None:
    talk = talk_of()
    talk.ask(messages.Lock(b"x"))
    assert isinstance(talk.ask(ADD), Failure)
    assert talk.session.errand is None


def test_case_270_what_is_listed_after_a_lock_is_not_added() -> None:
    talk = talk_of()
    assert talk.ask(ADD) is None
    talk.keyring.lock(b"x")
    assert isinstance(talk.helper_says(LISTED), Failure)
    talk.keyring.unlock(b"x", 0.0)
    assert talk.names() == []


@pytest.mark.parametrize(
    "answer",
    [
        None,
        Refused(Reason.PIN_WRONG, "the PIN is wrong", ""),
        Signed(b"signature"),
        KeysListed(()),
        KeysListed(((b"nonsense", "label"),)),
    ],
    ids=["none", "refused", "another", "no keys", "no key"],
)
def test_r152_whatever_a_helper_says_the_answer_is_no(answer: Any) -> None:
    talk = talk_of()
    assert talk.ask(ADD) is None
    assert isinstance(talk.helper_says(answer), Failure)
    assert talk.names() == []
    assert talk.add(ED25519)


def test_r153_constraints_reach_every_key_of_a_module() -> None:
    """CVE-2023-51384: they reached the first."""
    to_a = Destination(Hop("", "", ()), Hop("", "a", (HostKey(HOST_A.public.blob, False),)))
    talk = talk_of()
    assert succeeded(added(talk, Constraints(10, True, (to_a,))))
    held = talk.keyring.keys(talk.now)
    assert len(held) == len(ON_TOKEN)
    for one in held:
        assert one.constraints == Constraints(10, True, (to_a,))
        assert one.expires == talk.now + 10
    talk.now += 11
    assert talk.names() == []


def test_r153_constraints_that_fit_no_module_or_no_key_are_refused() -> None:
    talk = talk_of()
    certificate = Certificate.issue(
        ED25519, ED25519.public, key_id="id", principals=["me"], nonce=bytes(32)
    )
    for bounds in (Constraints(provider="internal"),):
        request = messages.AddSmartcardKeyConstrained(MODULE, b"", bounds.encode())
        assert isinstance(talk.ask(request), Failure)
    for bounds in (
        Constraints(provider="internal"),
        Constraints(certificates=(certificate,)),
        Constraints(certified_only=True),
    ):
        assert not succeeded(talk.ask(add_request(ED25519, bounds)))
    unasked = Talk(can_confirm=False, tokens=TokenPolicy(find=find))
    request = messages.AddSmartcardKeyConstrained(MODULE, b"", Constraints(confirm=True).encode())
    assert isinstance(unasked.ask(request), Failure)
    assert talk.session.errand is unasked.session.errand is None


def test_certificates_come_with_the_keys_they_are_for() -> None:
    mine, other = (
        Certificate.issue(HOST_A, key.public, key_id="id", principals=["me"], nonce=bytes(32))
        for key in (ON_TOKEN[1], ED25519)
    )
    talk = talk_of()
    assert succeeded(added(talk, Constraints(certificates=(mine, other))))
    blobs = [held.blob for held in talk.keyring.keys(talk.now)]
    assert blobs == [
        ON_TOKEN[0].public.blob,
        ON_TOKEN[1].public.blob,
        mine.blob,
        ON_TOKEN[2].public.blob,
    ]
    talk = talk_of()
    assert succeeded(added(talk, Constraints(certificates=(mine, other), certified_only=True)))
    assert [held.blob for held in talk.keyring.keys(talk.now)] == [mine.blob]
    # None fits: nothing is added, and nothing is said to be.
    talk = talk_of()
    only = Constraints(certificates=(other,), certified_only=True)
    assert isinstance(added(talk, only), Failure)


def test_a_token_signs_by_its_helper_and_requests_wait_their_turn() -> None:
    talk = talk_of()
    added(talk)
    key = ON_TOKEN[0]
    talk.user.ask(sign_request(key.public, b"data", "ssh-ed25519"), talk.replies.append)
    talk.user.ask(messages.RequestIdentities(), talk.replies.append)
    before = len(talk.replies)
    talk.carry()
    assert talk.session.errand is not None
    assert talk.session.errand.request == SignWith(
        MODULE, key.public.blob, b"data", "ssh-ed25519", b""
    )
    assert len(talk.replies) == before
    signature = key.sign(b"data")
    assert talk.helper_says(Signed(signature)) == SignResponse(signature)
    assert len(talk.replies) == before + 2


def test_case_275_a_key_that_goes_while_its_token_signs_has_not_signed() -> None:
    for gone in ("removed", "expired", "locked"):
        talk = talk_of()
        added(talk, Constraints(5))
        assert talk.ask(sign_request(ON_TOKEN[0].public, b"data", "ssh-ed25519")) is None
        if gone == "removed":
            talk.keyring.clear()
        elif gone == "expired":
            talk.now += 6
        else:
            talk.keyring.lock(b"x")
        answer = talk.helper_says(Signed(ON_TOKEN[0].sign(b"data")))
        assert isinstance(answer, Failure), gone


def test_a_key_to_be_confirmed_is_asked_about_before_its_token() -> None:
    talk = talk_of()
    added(talk, Constraints(confirm=True))
    assert talk.ask(sign_request(ON_TOKEN[0].public, b"data", "ssh-ed25519")) is None
    assert talk.session.question is not None
    assert talk.session.errand is None
    talk.session.answer(True, talk.now)
    assert talk.session.errand is not None
    assert talk.helper_says(Signed(b"x")) == SignResponse(b"x")


# Keys inside security keys


def on_security_key(application: bytes = b"ssh:") -> PrivateKey:
    return load_private_key(SoftwareAuthenticator("ed25519", application).private_file())


def holding(key: PrivateKey, **named: Any) -> Talk:
    talk = Talk(tokens=TokenPolicy(**named))
    assert succeeded(talk.ask(add_request(key, Constraints(provider="internal"))))
    return talk


def asked_to_sign(talk: Talk, key: PrivateKey, data: bytes) -> Any:
    reply = talk.ask(sign_request(key.public, data, key.public.key_type))
    if talk.session.errand is None:
        return reply
    assert isinstance(talk.session.errand.request, SignWith)
    assert talk.session.errand.request.provider == "internal"
    assert talk.session.errand.request.key == key.encode()
    assert talk.session.errand.touch == key.public.fingerprint()
    return talk.helper_says(Signed(b"made"))


def login_data(key: PrivateKey) -> bytes:
    return signed_data(b"sid", user="me", algorithm=key.public.key_type, key_blob=key.public.blob)


def file_data() -> bytes:
    seen: list[bytes] = []

    class Recorder:
        public = ED25519.public

        def sign(self, data: bytes, algorithm: str) -> bytes:
            seen.append(data)
            return ED25519.sign(data, algorithm)

    FileSignature.make(Recorder(), [b"a file"], namespace="file", hash_name="sha512")
    return seen[0]


def test_a_security_keys_key_for_ssh_signs_anything() -> None:
    key = on_security_key()
    talk = holding(key)
    assert asked_to_sign(talk, key, b"anything") == SignResponse(b"made")


def test_a_security_keys_key_for_a_web_site_signs_what_is_sshs_alone() -> None:
    key = on_security_key(b"https://example.org")
    talk = holding(key)
    assert isinstance(asked_to_sign(talk, key, b"anything"), Failure)
    assert asked_to_sign(talk, key, login_data(key)) == SignResponse(b"made")
    assert asked_to_sign(talk, key, file_data()) == SignResponse(b"made")
    for damaged in (
        file_data()[:-1],
        file_data() + b"x",
        file_data().replace(b"sha512", b"sha111"),
    ):
        assert isinstance(asked_to_sign(talk, key, damaged), Failure)
    # A login by another key is none by this one.
    assert isinstance(asked_to_sign(talk, key, login_data(on_security_key())), Failure)


@pytest.mark.parametrize("patterns", [(), ("ssh:*", "https://*.org"), ("*",)])
def test_what_is_safe_from_web_sites_can_be_said_otherwise(patterns: tuple[str, ...]) -> None:
    key = on_security_key(b"https://example.org")
    assert asked_to_sign(holding(key, web_safe=patterns), key, b"anything") == SignResponse(
        b"made"
    )


def test_r151_a_security_key_is_reached_by_what_is_allowed_alone() -> None:
    talk = talk_of()
    request = add_request(on_security_key(), Constraints(provider="/tmp/middleware.so"))
    assert not succeeded(talk.ask(request))
    assert talk.names() == []


def test_r153_a_certificate_of_a_security_keys_key_comes_and_goes() -> None:
    for kind in ("ed25519", "ecdsa"):
        key = load_private_key(SoftwareAuthenticator(kind).private_file())  # type: ignore[arg-type]
        certificate = Certificate.issue(
            HOST_A, key.public, key_id="id", principals=["me"], nonce=bytes(32)
        )
        talk = Talk()
        bounds = Constraints(provider="internal")
        assert succeeded(talk.ask(add_request(key, bounds, certificate=certificate)))
        (held,) = talk.keyring.keys(talk.now)
        assert held.blob == certificate.blob
        assert isinstance(held.credential.key, PrivateKey)
        assert held.credential.key.encode() == key.encode()


@pytest.mark.parametrize("name", ["sk-provider@openssh.com", "associated-certs-v00@openssh.com"])
def test_case_267_a_constraint_is_not_given_twice(name: str) -> None:
    bounds = {
        "sk-provider@openssh.com": Constraints(provider="internal"),
        "associated-certs-v00@openssh.com": Constraints(certified_only=True),
    }[name]
    from tellin.errors import MalformedPacket

    assert Constraints.read(Cursor(bounds.encode())) == bounds
    with pytest.raises(MalformedPacket, match="twice"):
        Constraints.read(Cursor(bounds.encode() * 2))


def test_what_a_helper_left_unsaid_is_not_taken_for_the_next_ones_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that dies within an answer; the next is asked, and understood."""
    whole = framed(Signed(b"signature"))
    answers = [whole[:7], whole]
    ends: list[socket.socket] = []

    def start(name: str) -> tokens.Process:
        ours, theirs = socket.socketpair()
        theirs.sendall(answers.pop(0))
        theirs.shutdown(socket.SHUT_WR)
        ends.append(theirs)
        return tokens.Process(os.getpid(), Socket(fileno=ours.detach()))

    monkeypatch.setattr(tokens, "start_helper", start)
    monkeypatch.setattr(tokens.Process, "end", lambda process: process.stream.close())
    request = SignWith("internal", b"key", b"data", "ssh-ed25519", b"")
    with tokens.TokenHelper(tokens.SECURITY_KEY) as helper:
        with pytest.raises(TokenError, match="has ended"):
            helper.ask(request)
        assert helper.ask(request) == Signed(b"signature")
    for end in ends:
        end.close()
