# SPDX-License-Identifier: MIT
"""What the server's half does with requests it should not trust."""

import time
from itertools import product
from typing import Any

import pytest
from tests.userauth.pair import (
    ALGORITHMS,
    HOST_KEY,
    SESSION,
    Backend,
    Server,
    key,
    policy,
    request,
)

from tellin.errors import DisconnectReason, MalformedPacket, ProtocolError, UsageError
from tellin.keys import PublicKey
from tellin.userauth.login import State
from tellin.userauth.messages import (
    InfoRequest,
    InfoResponse,
    KeyboardInteractiveFields,
    PasswordChangeFields,
    PasswordFields,
    PublicKeyFields,
    PublicKeyOk,
    SignedHostBasedFields,
    SignedPublicKeyFields,
    UserauthFailure,
    UserauthRequest,
    UserauthSuccess,
    signed_data,
)
from tellin.userauth.policy import parse_chains
from tellin.userauth.questions import (
    Accepted,
    Account,
    Ask,
    ChangeWanted,
    HostQuestion,
    KeyQuestion,
    NoneQuestion,
    Outcome,
    PasswordQuestion,
    PromptQuestion,
    Prompts,
    Refused,
    Reply,
    UserQuestion,
)
from tellin.wire import Message, mpint, string

METHODS = ("publickey", "password", "keyboard-interactive")
FAILURE = UserauthFailure(METHODS, partial_success=False)
NONE = request(b"", method="none")


def password(text: str | bytes = "guess", *, user: str = "alice") -> UserauthRequest:
    raw = text.encode() if isinstance(text, str) else text
    return request(PasswordFields(changing=False, password=raw), method="password", user=user)


def probe(number: int = 0, *, user: str = "alice", algorithm: str = "ssh-ed25519") -> Message:
    fields = PublicKeyFields(False, algorithm, key(number).public.blob)
    return request(fields, method="publickey", user=user)


def probe_blob(blob: bytes, algorithm: str = "ssh-ed25519") -> Message:
    return request(PublicKeyFields(False, algorithm, blob), method="publickey")


def signed(
    number: int = 0,
    *,
    user: str = "alice",
    algorithm: str = "ssh-ed25519",
    data: bytes | None = None,
    signature: bytes | None = None,
) -> Message:
    signer = key(number)
    blob = signer.public.blob
    covered = data or signed_data(SESSION, user=user, algorithm=algorithm, key_blob=blob)
    fields = SignedPublicKeyFields(
        True, algorithm, blob, signature=signer.sign(covered) if signature is None else signature
    )
    return request(fields, method="publickey", user=user)


def interactive(submethods: bytes = b"", *, user: str = "alice") -> Message:
    return request(
        KeyboardInteractiveFields("", submethods), method="keyboard-interactive", user=user
    )


def asking() -> Backend:
    """A backend that asks for two things."""
    backend = Backend()
    backend.prompts = lambda question: (
        Prompts((("Password: ", False), ("Code: ", True)))
        if question.responses is None
        else Accepted()
        if question.responses == ("correct", "1")
        else Refused()
    )
    return backend


def ended(server: Server, message: Message | bytes) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        server.take(message)
    with pytest.raises(ProtocolError):
        server.take(signed())
    assert server.granted is None
    return caught.value


# R060, R061: who exists

MALFORMED = {
    "password without its string": request(b"\0", method="password"),
    "password truncated, case 130": request(b"\0\0\0\0\x10abc", method="password"),
    "password with bytes behind": request(b"\0\0\0\0\x01ax", method="password"),
    "publickey without a blob": request(b"\0" + string(b"ssh-ed25519"), method="publickey"),
    "publickey flagged without signature": request(
        b"\1" + string(b"ssh-ed25519") + string(b"blob"), method="publickey"
    ),
    "publickey with bytes behind": request(
        b"\0" + string(b"ssh-ed25519") + string(b"blob") + b"x", method="publickey"
    ),
    "algorithm not UTF-8": request(b"\0" + string(b"\xff") + string(b"b"), method="publickey"),
    "keyboard-interactive truncated": request(string(b""), method="keyboard-interactive"),
    "none with bytes": request(b"x", method="none"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_r060_a_malformed_request_ends_alike_for_users_who_exist_or_not(name: str) -> None:
    outcomes = set()
    for user in ("alice", "nobody-such"):
        server = Server()
        message = MALFORMED[name]
        error = ended(
            server, UserauthRequest(user, message.service, message.method, message.method_data)
        )
        assert isinstance(error, MalformedPacket)
        assert server.backend.asked == []
        outcomes.add((type(error), str(error), error.reason))
    assert len(outcomes) == 1


@pytest.mark.parametrize(
    "build",
    [
        lambda user: request(b"", method="none", user=user),
        lambda user: password("guess", user=user),
        lambda user: password(b"x" * 1025, user=user),
        lambda user: probe(3, user=user),
        lambda user: probe(3, user=user, algorithm="rsa-sha2-512"),
        lambda user: signed(3, user=user),
        lambda user: interactive(user=user),
        lambda user: request(b"?", method="gssapi-with-mic", user=user),
    ],
    ids=["none", "password", "long", "probe", "misfit", "signature", "interactive", "unknown"],
)
def test_r060_refusals_are_the_same_bytes_for_users_who_exist_or_not(build: Any) -> None:
    replies = [
        [message.encode() for message in Server().take(build(user))]
        for user in ("alice", "nobody-such")
    ]
    assert replies[0] == replies[1] == [FAILURE.encode()]


def test_r061_the_same_questions_are_asked_about_users_who_do_not_exist() -> None:
    kinds = []
    for user in ("alice", "nobody-such"):
        server = Server()
        for message in (password(user=user), probe(3, user=user), interactive(user=user)):
            server.take(message)
        kinds.append([type(question) for question in server.backend.asked])
    assert kinds[0] == kinds[1]
    assert kinds[0] == [UserQuestion, PasswordQuestion, KeyQuestion, PromptQuestion]


def test_a_yes_for_a_user_who_does_not_exist_is_a_no() -> None:
    backend = asking()
    backend.none = Accepted()
    server = Server(backend, policy=policy(permit_none=True, permit_empty_passwords=True))
    for message in (
        request(b"", method="none", user="ghost"),
        password("correct", user="ghost"),
        probe(user="ghost"),
        signed(user="ghost"),
    ):
        assert server.take(message) == [FAILURE]
    server.take(interactive(user="ghost"))
    assert server.take(InfoResponse((b"correct", b"1"))) == [FAILURE]
    assert server.granted is None


def test_a_password_change_is_not_offered_to_a_user_who_does_not_exist() -> None:
    backend = Backend()
    backend.password_answer = lambda question: ChangeWanted("New: ")
    assert Server(backend).take(password(user="ghost")) == [FAILURE]


# R062, R087, R090: passwords


@pytest.mark.parametrize(
    "raw",
    [b"x" * 1025, b"x" * 100_000, b"correct\0", b"\0", b"\xff\xfe"],
    ids=["1025 bytes", "case 131", "case 133", "NUL", "not UTF-8"],
)
def test_r062_a_password_that_cannot_be_one_is_refused_without_a_hash(raw: bytes) -> None:
    server = Server()
    assert server.take(password(raw)) == [FAILURE]
    assert server.backend.asked_about(PasswordQuestion) == 0


def test_r062_1024_bytes_are_still_a_password() -> None:
    server = Server()
    server.take(password(b"x" * 1024))
    assert server.backend.asked_about(PasswordQuestion) == 1


def test_r062_the_new_password_has_the_same_bounds() -> None:
    for new in (b"x" * 1025, b"", b"a\0b"):
        server = Server()
        fields = PasswordChangeFields(True, b"correct", new_password=new)
        assert server.take(request(fields, method="password")) == [FAILURE]
        assert server.backend.asked_about(PasswordQuestion) == 0


def test_r090_an_empty_password_is_refused_unless_permitted() -> None:
    backend = Backend()
    backend.password = ""
    server = Server(backend)
    assert server.take(password("")) == [FAILURE]
    assert server.backend.asked_about(PasswordQuestion) == 0
    permitting = Server(backend, policy=policy(permit_empty_passwords=True))
    assert permitting.take(password("")) == [UserauthSuccess()]


@pytest.mark.parametrize(
    ("chain", "position"),
    [
        (chain, position)
        for chain in ("password,publickey", "publickey,password")
        for position in (0, 1)
    ],
)
def test_r087_nothing_shown_is_never_a_step_of_several(chain: str, position: int) -> None:
    backend = Backend()
    backend.password = ""
    backend.none = Accepted()
    server = Server(
        backend,
        policy=policy(chains=parse_chains([chain]), permit_empty_passwords=True, permit_none=True),
    )
    steps = {"publickey": signed(), "password": password("")}
    for step in chain.split(",")[:position]:
        server.take(steps[step])
    for message in (NONE, password("")):
        (reply,) = server.take(message)
        assert isinstance(reply, UserauthFailure)
        assert not reply.partial_success
    assert server.granted is None


# R064, cases 149-151: keyboard-interactive


@pytest.mark.parametrize(
    "submethods",
    [b",".join([b"pam"] * 10_000), b",".join(b"dev%d" % n for n in range(10_000)) + b",pam"],
    ids=["duplicates", "10k devices"],
)
def test_r064_case_151_a_list_of_devices_is_one_attempt(submethods: bytes) -> None:
    server = Server(asking())
    (asked,) = server.take(interactive(submethods))
    assert isinstance(asked, InfoRequest)
    assert server.take(InfoResponse((b"wrong", b"0"))) == [FAILURE]
    assert server.backend.asked_about(PromptQuestion) == 2
    with pytest.raises(ProtocolError):
        server.take(InfoResponse((b"wrong", b"1")))


def test_r064_dialogues_are_capped_at_the_maximum_of_tries() -> None:
    server = Server(asking())
    for _ in range(6):
        server.take(interactive())
        assert server.take(InfoResponse((b"wrong", b"0"))) == [FAILURE]
    assert "Too many authentication failures" in str(ended(server, interactive()))


def test_r064_dialogues_dropped_half_way_are_tries_too() -> None:
    server = Server(asking())
    for _ in range(6):
        server.take(interactive())
    assert "Too many authentication failures" in str(ended(server, interactive()))


def test_case_149_a_response_without_a_request_ends_the_connection() -> None:
    ended(Server(asking()), InfoResponse(()))


@pytest.mark.parametrize(
    "payload",
    [
        InfoResponse((b"only one",)).encode(),
        InfoResponse((b"1", b"2", b"3")).encode(),
        b"\x3d\xff\xff\xff\xff",
        InfoResponse((b"correct", b"1")).encode()[:-1],
        InfoResponse((b"correct", b"1")).encode() + b"x",
    ],
    ids=["fewer", "more", "2^32-1", "truncated", "longer"],
)
def test_case_150_responses_that_do_not_match_the_prompts_end_the_connection(
    payload: bytes,
) -> None:
    server = Server(asking())
    server.take(interactive())
    ended(server, payload)


def test_a_response_that_is_no_text_fails_and_frees_the_dialogue() -> None:
    server = Server(asking())
    server.take(interactive())
    step = server.authenticator.receive(InfoResponse((b"\xff", b"1")).encode())
    assert step == Reply((FAILURE,), abandoned=True)


def test_a_request_in_the_middle_of_a_dialogue_abandons_it() -> None:
    server = Server(asking())
    server.take(interactive())
    step = server.authenticator.receive(password("correct").encode())
    assert isinstance(step, Ask)
    assert step.abandoned
    assert not server.authenticator.answer(Refused()).abandoned
    ended(server, InfoResponse((b"correct", b"1")))


def test_prompts_are_bounded_on_our_side_too() -> None:
    server = Server()
    server.authenticator.receive(interactive().encode())
    server.authenticator.answer(Account(known=True))
    with pytest.raises(UsageError):
        server.authenticator.answer(Prompts((("?", True),) * 33))


# R065, cases 127, 129, 146: counting


def test_case_127_the_seventh_failure_ends_the_connection() -> None:
    server = Server()
    for _ in range(6):
        assert server.take(password()) == [FAILURE]
    error = ended(server, password("correct"))
    assert str(error) == "Too many authentication failures"
    assert error.reason is DisconnectReason.PROTOCOL_ERROR
    assert server.backend.asked_about(PasswordQuestion) == 6


def test_case_129_the_first_none_is_no_failure_and_the_second_is() -> None:
    server = Server(policy=policy(maximum_tries=1))
    assert server.take(NONE) == [FAILURE]
    assert server.take(NONE) == [FAILURE]
    ended(server, password("correct"))


def test_r065_refused_probes_count_as_failures() -> None:
    server = Server()
    for number in range(10, 16):
        assert server.take(probe(number)) == [FAILURE]
    ended(server, signed())


def test_case_146_probes_without_a_signature_count_and_end_the_connection_at_the_cap() -> None:
    server = Server()
    for _ in range(6):
        assert isinstance(server.take(probe())[0], PublicKeyOk)
    assert "Too many authentication failures" in str(ended(server, probe()))


def test_a_probe_and_its_signature_are_one_try() -> None:
    server = Server(policy=policy(maximum_tries=1))
    server.take(probe())
    assert server.take(signed()) == [UserauthSuccess()]


def test_a_probe_is_not_paid_for_by_another_keys_signature() -> None:
    server = Server(policy=policy(maximum_tries=1))
    server.take(probe(0))
    ended(server, signed(1))


def test_r065_128_requests_are_the_end_whatever_the_policy_allows() -> None:
    server = Server(policy=policy(maximum_tries=10_000))
    for _ in range(128):
        assert server.take(password()) == [FAILURE]
    assert "too many authentication requests" in str(ended(server, password("correct")))


def test_r065_rounds_of_a_dialogue_count_as_requests() -> None:
    backend = Backend()
    backend.prompts = lambda question: Prompts(())
    server = Server(backend)
    server.take(interactive())
    for _ in range(127):
        server.take(InfoResponse(()))
    ended(server, InfoResponse(()))


# R066, cases 122-126: names


@pytest.mark.parametrize(
    "second",
    [
        password("correct", user="bob"),
        password("correct", user="alicE"),
        request(PasswordFields(False, b"correct"), method="password", service="ssh-userauth"),
        request(PasswordFields(False, b"correct"), method="password", service=""),
    ],
    ids=["user", "case of the user", "service", "empty service"],
)
def test_r066_another_user_or_service_ends_the_connection(second: Message) -> None:
    backend = Backend(users={"alice": None, "bob": None, "alicE": None})
    server = Server(backend, policy=policy(chains=parse_chains(["publickey,password"])))
    (reply,) = server.take(signed())
    assert isinstance(reply, UserauthFailure)
    assert reply.partial_success
    assert ended(server, second).reason is DisconnectReason.PROTOCOL_ERROR


def test_case_123_another_service_than_the_connection_is_not_available() -> None:
    error = ended(Server(), request(b"", method="none", service="ssh-userauth"))
    assert error.reason is DisconnectReason.SERVICE_NOT_AVAILABLE


def test_case_122_an_unknown_method_brings_the_list() -> None:
    assert Server().take(request(b"\xff\0", method="telepathy")) == [FAILURE]


@pytest.mark.parametrize(
    "user",
    ["", "a\0b", "root\n", "\x1b[2J", "x" * 256, "x" * 200_000, "a\x9fb", "a\u202eb"],
    ids=["case 126", "NUL", "newline", "escape", "256", "200 KB", "C1", "bidi"],
)
def test_case_125_a_name_that_cannot_be_one_is_refused_and_nobody_is_asked(user: str) -> None:
    server = Server(Backend(users={user: None}))
    assert server.take(password("correct", user=user)) == [FAILURE]
    assert server.backend.asked == []


def test_case_125_a_name_that_is_not_utf_8_ends_the_connection() -> None:
    ended(Server(), b"\x32" + string(b"\xff\xfe") + string(b"ssh-connection") + string(b"none"))


# R018, cases 154, 157, 165: messages out of turn


@pytest.mark.parametrize("number", [51, 52, 53, 54, 59, 60, 61, 62, 66, 79])
def test_r018_cases_154_157_what_only_a_server_sends_ends_the_connection(number: int) -> None:
    ended(Server(), bytes((number,)))


def test_r018_success_from_the_client_grants_nothing_in_the_middle_either() -> None:
    server = Server(asking())
    server.take(interactive())
    ended(server, UserauthSuccess())


def test_case_165_a_request_after_the_login_is_ignored_silently() -> None:
    server = Server()
    server.take(signed())
    assert server.authenticator.receive(password("x").encode()) == Reply(())
    assert server.authenticator.state is State.GRANTED
    with pytest.raises(ProtocolError):
        server.authenticator.receive(InfoResponse(()).encode())


# R067, R070-R072, R076, R078, cases 135-145: keys


def test_r067_only_the_key_that_signed_is_in_the_grant() -> None:
    server = Server()
    server.take(probe(1))
    server.take(signed(0))
    assert server.granted is not None
    assert [factor.key for factor in server.granted.factors] == [key(0).public]


OTHER = {"user": "alice", "algorithm": "ssh-ed25519"}


@pytest.mark.parametrize(
    "data",
    [
        lambda blob: signed_data(b"t" * 32, key_blob=blob, **OTHER),
        lambda blob: signed_data(SESSION, key_blob=blob, user="bob", algorithm="ssh-ed25519"),
        lambda blob: signed_data(SESSION, key_blob=blob, service="other", **OTHER),
        lambda blob: signed_data(SESSION, key_blob=key(1).public.blob, **OTHER),
        lambda blob: signed_data(SESSION, key_blob=blob, user="alice", algorithm="ssh-rsa"),
        lambda blob: signed_data(SESSION, key_blob=blob, host_key_blob=HOST_KEY, **OTHER),
        lambda blob: signed_data(SESSION, key_blob=blob, **OTHER).replace(
            b"publickey\x01", b"publickey\0"
        ),
        lambda blob: b"",
    ],
    ids=["session", "user", "service", "key", "algorithm", "method", "flag", "nothing"],
)
def test_r070_case_139_a_signature_over_anything_else_fails(data: Any) -> None:
    server = Server()
    signature = key().sign(data(key().public.blob) or b"nothing")
    assert server.take(signed(signature=signature)) == [FAILURE]
    assert server.granted is None


@pytest.mark.parametrize(
    "change",
    [
        lambda signature: b"",
        lambda signature: signature + b"\0",
        lambda signature: signature[:-1],
        lambda signature: string(b"rsa-sha2-512") + signature[15:],
        lambda signature: signature[:19] + bytes(64),
        lambda signature: signature[:-1] + bytes((signature[-1] ^ 0x80,)),
    ],
    ids=["case 145", "case 141", "short", "R070 inner algorithm", "zeros", "case 142"],
)
def test_a_signature_that_is_not_one_fails(change: Any) -> None:
    blob = key().public.blob
    data = signed_data(SESSION, user="alice", algorithm="ssh-ed25519", key_blob=blob)
    assert Server().take(signed(signature=change(key().sign(data)))) == [FAILURE]


@pytest.mark.parametrize("value", [1, "yes", object(), None, 0, False])
def test_r078_only_an_explicit_true_lets_in(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PublicKey, "verify", lambda *_, **__: value)
    assert Server().take(signed()) == [FAILURE]


def test_a_good_signature_by_a_key_that_may_not_is_not_even_verified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: Any, **__: Any) -> bool:
        raise AssertionError

    monkeypatch.setattr(PublicKey, "verify", never)
    assert Server().take(signed(3)) == [FAILURE]


def test_r071_one_listed_curve_lets_in_no_other() -> None:
    server = Server(policy=policy(algorithms=("ecdsa-sha2-nistp521", "ssh-ed25519-cert")))
    assert server.take(probe_blob(key(0, "ecdsa").public.blob, "ecdsa-sha2-nistp256")) == [FAILURE]
    assert server.take(probe(0)) == [FAILURE]
    assert server.backend.asked_about(KeyQuestion) == 0


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        (kind, algorithm)
        for kind, algorithm in product(("ed25519", "ecdsa", "rsa"), ALGORITHMS)
        if algorithm not in key(9, kind).public.signature_algorithms
    ],
)
def test_r072_an_algorithm_that_does_not_fit_the_key_fails(kind: str, algorithm: str) -> None:
    backend = Backend()
    backend.keys[key(9, kind).public.blob] = ""
    server = Server(backend)
    assert server.take(probe_blob(key(9, kind).public.blob, algorithm)) == [FAILURE]
    assert backend.asked_about(KeyQuestion) == 0


def rsa(exponent: int, modulus: int) -> bytes:
    return string(b"ssh-rsa") + mpint(exponent) + mpint(modulus)


@pytest.mark.parametrize(
    ("blob", "algorithm"),
    [
        (b"", "ssh-ed25519"),
        (b"garbage", "ssh-ed25519"),
        (b"\xff" * 64, "ssh-ed25519"),
        (string(b"ssh-ed25519") + string(b"short"), "ssh-ed25519"),
        (string(b"ssh-ed448"), "ssh-ed448"),
        (rsa(65537, 2**511 + 1), "rsa-sha2-512"),
        (rsa(65537, 2**32767 + 1), "rsa-sha2-512"),
        (rsa(1, 2**2047 + 1), "rsa-sha2-512"),
        (rsa(65537, 2**2047), "rsa-sha2-512"),
        (rsa(-3, -(2**2047)), "rsa-sha2-512"),
    ],
    ids=[
        "empty",
        "case 135",
        "ff",
        "short",
        "case 137",
        "512 bit",
        "32768 bit",
        "e=1",
        "even",
        "negative",
    ],
)
def test_r076_cases_135_to_138_a_bad_key_fails_fast_and_the_login_goes_on(
    blob: bytes, algorithm: str
) -> None:
    server = Server()
    started = time.process_time()
    assert server.take(probe_blob(blob, algorithm)) == [FAILURE]
    assert time.process_time() - started < 1
    assert server.take(signed()) == [UserauthSuccess()]


def test_rsa_keys_shorter_than_the_policy_asks_for_fail() -> None:
    signer = key(9, "rsa")
    backend = Backend()
    backend.keys[signer.public.blob] = ""
    server = Server(backend, policy=policy(required_rsa_size=signer.public.bits + 1))
    assert server.take(probe_blob(signer.public.blob, "rsa-sha2-512")) == [FAILURE]


def test_r077_rsa_with_sha_1_needs_its_name_in_the_policy() -> None:
    signer = key(9, "rsa")
    backend = Backend()
    backend.keys[signer.public.blob] = ""
    message = probe_blob(signer.public.blob, "ssh-rsa")
    assert Server(backend).take(message) == [FAILURE]
    permitting = Server(backend, policy=policy(algorithms=("ssh-rsa",)))
    assert permitting.take(message) == [PublicKeyOk("ssh-rsa", signer.public.blob)]


@pytest.mark.parametrize(
    ("host", "user", "name"),
    [("host.", "al\0", "key"), ("ho\nst", "al", "key"), ("", "al", "key"), ("host.", "al", "")],
)
def test_case_147_bad_names_or_signatures_of_a_host_fail(host: str, user: str, name: str) -> None:
    backend = Backend()
    backend.host = Accepted()
    server = Server(
        backend,
        policy=policy(methods=("publickey", "hostbased"), host_algorithms=("ssh-ed25519",)),
    )
    fields = SignedHostBasedFields(
        "ssh-ed25519", key().public.blob, host, user, signature=key().sign(b"not the request")
    )
    (reply,) = server.take(request(fields, method="hostbased"))
    assert isinstance(reply, UserauthFailure)
    assert backend.asked_about(HostQuestion) == (not name)


def test_case_147_a_hosts_algorithm_must_be_listed_for_hosts() -> None:
    backend = Backend()
    backend.host = Accepted()
    server = Server(backend, policy=policy(methods=("publickey", "hostbased")))
    fields = SignedHostBasedFields(
        "ssh-ed25519", key().public.blob, "host.", "al", signature=b"signature"
    )
    server.take(request(fields, method="hostbased"))
    assert backend.asked_about(HostQuestion) == 0


# R089, case 155: what is offered


@pytest.mark.parametrize(
    "message",
    [password("correct"), interactive(), signed()],
    ids=["password", "keyboard-interactive", "publickey"],
)
def test_r089_a_method_that_is_not_offered_fails_without_its_backend(message: Message) -> None:
    server = Server(policy=policy(methods=("hostbased",)))
    (reply,) = server.take(message)
    assert reply == UserauthFailure(("hostbased",), partial_success=False)
    assert [type(question) for question in server.backend.asked] == [UserQuestion]


def test_r089_case_155_the_method_that_succeeded_is_not_offered_again() -> None:
    server = Server(policy=policy(chains=parse_chains(["publickey,password"])))
    server.take(signed())
    asked = server.backend.asked_about(KeyQuestion)
    assert server.take(signed(1)) == [UserauthFailure(("password",), partial_success=False)]
    assert server.backend.asked_about(KeyQuestion) == asked


def test_none_is_not_asked_about_where_it_is_not_permitted() -> None:
    backend = Backend()
    backend.none = Accepted()
    server = Server(backend)
    assert server.take(NONE) == [FAILURE]
    assert backend.asked_about(NoneQuestion) == 0


def test_case_134_no_password_crosses_a_connection_that_anybody_can_read() -> None:
    server = Server(confidential=False)
    expected = UserauthFailure(("publickey",), partial_success=False)
    assert server.take(password("correct")) == [expected]
    assert server.take(interactive()) == [expected]
    assert [type(question) for question in server.backend.asked] == [UserQuestion]


def test_a_users_own_policy_replaces_the_general_one() -> None:
    own = policy(methods=("password",), maximum_tries=1, banner="Hello, alice")
    server = Server(Backend(users={"alice": own}))
    banner, reply = server.take(NONE)
    assert banner.encode()[5:] == b"Hello, alice" + string(b"")
    assert reply == UserauthFailure(("password",), partial_success=False)


# Requests that do not wait (RFC 4252 section 5)


def test_requests_sent_without_waiting_are_answered_in_their_order() -> None:
    server = Server()
    machine = server.authenticator
    assert machine.receive(NONE.encode()) == Ask(UserQuestion("alice"))
    assert machine.receive(password("first").encode()) == Reply(())
    assert machine.receive(password("correct").encode()) == Reply(())
    first = machine.answer(Account(known=True))
    assert isinstance(first, Ask)
    assert first.messages == (FAILURE,)
    assert first.question == PasswordQuestion("alice", True, "first", None)
    second = machine.answer(Refused())
    assert isinstance(second, Ask)
    assert second.messages == (FAILURE,)
    assert second.question == PasswordQuestion("alice", True, "correct", None)
    assert machine.answer(Accepted()).messages == ()
    assert machine.state is State.GRANTED


def test_guesses_before_a_broken_request_are_still_in_the_log() -> None:
    machine = Server().authenticator
    machine.receive(password("guess").encode())
    machine.answer(Account(known=True))
    machine.receive(MALFORMED["none with bytes"].encode())
    with pytest.raises(ProtocolError):
        machine.answer(Refused())
    assert [(a.outcome, a.method) for a in machine.attempts()] == [(Outcome.FAILED, "password")]


@pytest.mark.parametrize(("size", "kept"), [(1, 16), (30_000, 2)], ids=["number", "size"])
def test_requests_that_wait_are_bounded(size: int, kept: int) -> None:
    server = Server()
    message = password(b"x" * size)
    server.authenticator.receive(message.encode())
    for _ in range(kept):
        assert server.authenticator.receive(message.encode()) == Reply(())
    ended(server, message)


# The driver's mistakes


def test_an_answer_that_is_none_is_the_drivers_mistake() -> None:
    machine = Server().authenticator
    with pytest.raises(UsageError):
        machine.answer(Accepted())
    machine.receive(password("correct").encode())
    with pytest.raises(UsageError):
        machine.answer(Accepted())
    machine.answer(Account(known=True))
    with pytest.raises(UsageError):
        machine.answer(Account(known=True))
    machine.answer(Refused())


def test_the_driver_can_see_who_it_is_about() -> None:
    server = Server()
    assert (server.authenticator.user, server.authenticator.known) == (None, False)
    server.take(NONE)
    assert (server.authenticator.user, server.authenticator.known) == ("alice", True)


# The log


def test_attempts_read_as_openssh_logs_them() -> None:
    server = Server(policy=policy(chains=parse_chains(["publickey,password"])))
    server.take(probe(0))
    server.take(signed(0))
    server.take(password("guess"))
    server.take(password("correct"))
    source = "192.0.2.7 port 4711"
    fingerprint = key(0).public.fingerprint()
    assert [attempt.sentence(source) for attempt in server.authenticator.attempts()] == [
        f"Postponed publickey for alice from {source} ssh2: ED25519 {fingerprint}",
        f"Partial publickey for alice from {source} ssh2: ED25519 {fingerprint}",
        f"Failed password for alice from {source} ssh2",
        f"Accepted password for alice from {source} ssh2",
    ]
    assert server.authenticator.attempts() == []


def test_the_device_is_logged_behind_its_method() -> None:
    server = Server(asking())
    server.take(interactive())
    server.take(InfoResponse((b"correct", b"1")))
    last = server.authenticator.attempts()[-1]
    assert last.sentence("h port 1") == (
        "Accepted keyboard-interactive/pam for alice from h port 1 ssh2"
    )


def test_r204_a_users_name_cannot_write_a_line_of_the_log() -> None:
    server = Server()
    server.take(password("x", user="x\nAccepted password for root from 192.0.2.1 port 1 ssh2"))
    (attempt,) = server.authenticator.attempts()
    line = attempt.sentence("192.0.2.7 port 4711")
    assert "\n" not in line
    assert line.startswith("Failed password for invalid user x\\012Accepted")
    assert line.endswith("from 192.0.2.7 port 4711 ssh2")


def test_r204_neither_can_a_methods_name() -> None:
    server = Server()
    server.take(request(b"", method="x for a from b\nAccepted password for root"))
    (attempt,) = server.authenticator.attempts()
    assert "\n" not in attempt.sentence("192.0.2.7 port 4711")


def test_r210_no_password_shows_in_a_question_or_a_fact() -> None:
    server = Server()
    server.take(password("hunter2"))
    server.take(
        request(
            PasswordChangeFields(True, b"hunter2", new_password=b"hunter2x"), method="password"
        )
    )
    assert "hunter2" not in repr((server.backend.asked, server.authenticator.attempts()))


def test_r084_nothing_proven_survives_the_end() -> None:
    server = Server(policy=policy(chains=parse_chains(["publickey,password"])))
    server.take(signed())
    ended(server, UserauthSuccess())
    assert server.authenticator._login.factors == []
    assert server.authenticator.state is State.ENDED
