# SPDX-License-Identifier: MIT
"""Client and server wired to each other, for every method."""

import pytest
from tests.userauth.pair import Backend, Pair, key, policy

from tellin.userauth.client import Waiting
from tellin.userauth.events import (
    Authenticated,
    AuthenticationRefused,
    Banner,
    KeyAccepted,
    PasswordChangeAsked,
    QuestionsAsked,
)
from tellin.userauth.policy import parse_chains
from tellin.userauth.questions import (
    Accepted,
    Answer,
    ChangeWanted,
    Factor,
    HostQuestion,
    KeyQuestion,
    PasswordQuestion,
    PromptQuestion,
    Prompts,
    Refused,
)

METHODS = ("publickey", "password", "keyboard-interactive")


def test_none_brings_the_list_and_nobody_in_case_129() -> None:
    pair = Pair()
    events = pair.send(pair.client.try_none("alice"))
    assert events == [AuthenticationRefused(METHODS, False)]
    assert pair.granted is None


def test_none_lets_in_where_the_policy_and_the_accounts_say_so() -> None:
    backend = Backend()
    backend.none = Accepted("nothing shown")
    pair = Pair(backend, policy=policy(permit_none=True))
    assert pair.send(pair.client.try_none("alice")) == [Authenticated("alice", "none")]
    assert pair.granted is not None
    assert pair.granted.factors == (Factor("none", "", None, "nothing shown"),)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_probe_and_then_a_signature(kind: str) -> None:
    signer = key(7, kind)
    backend = Backend()
    backend.keys[signer.public.blob] = "its grant"
    pair = Pair(backend)
    algorithm = signer.public.signature_algorithms[0]
    assert pair.probe(signer) == [KeyAccepted(signer.public.blob, algorithm)]
    assert pair.granted is None
    assert pair.sign(signer) == [Authenticated("alice", "publickey")]
    assert pair.granted is not None
    assert pair.granted.user == "alice"
    assert pair.granted.factors == (Factor("publickey", "", signer.public, "its grant"),)


def test_a_signature_without_a_probe() -> None:
    pair = Pair()
    assert pair.sign(key()) == [Authenticated("alice", "publickey")]


def test_a_host_bound_signature() -> None:
    pair = Pair()
    pair.client.hostbound = True
    assert pair.probe(key()) != []
    assert pair.sign(key()) == [Authenticated("alice", "publickey")]
    assert pair.granted is not None
    assert pair.granted.method == "publickey"


def test_a_signature_bound_to_another_host_is_refused_without_asking_anybody() -> None:
    pair = Pair()
    pair.client.hostbound = True
    pair.client.host_key_blob = b"the host in the middle"
    assert pair.sign(key()) == [AuthenticationRefused(METHODS, False)]
    assert pair.server.backend.asked_about(KeyQuestion) == 0


def test_the_right_password_and_a_wrong_one_before() -> None:
    pair = Pair()
    assert pair.send(pair.client.try_password("alice", "guess")) == [
        AuthenticationRefused(METHODS, False)
    ]
    assert pair.send(pair.client.try_password("alice", "correct")) == [
        Authenticated("alice", "password")
    ]


def test_a_password_is_changed_on_the_way_in() -> None:
    def answer(question: PasswordQuestion) -> Answer:
        if question.password != "old":
            return Refused()
        if question.new_password is None:
            return ChangeWanted("It has run out.")
        return ChangeWanted("Too short.") if len(question.new_password) < 4 else Accepted("new")

    backend = Backend()
    backend.password_answer = answer
    pair = Pair(backend)
    client = pair.client
    assert pair.send(client.try_password("alice", "old")) == [
        PasswordChangeAsked("It has run out.")
    ]
    assert pair.send(client.try_password("alice", "old", "abc")) == [
        PasswordChangeAsked("Too short.")
    ]
    assert pair.send(client.try_password("alice", "old", "abcd")) == [
        Authenticated("alice", "password")
    ]


def test_keyboard_interactive_in_two_rounds_and_a_last_one_without_prompts() -> None:
    rounds = {
        None: Prompts((("Password: ", False),), "Login", "Say who you are."),
        ("correct",): Prompts((("Code: ", True),)),
        ("123456",): Prompts((), instruction="Welcome."),
        (): Accepted("by pam"),
    }
    backend = Backend()
    backend.prompts = lambda question: rounds[question.responses]
    pair = Pair(backend)
    client = pair.client
    assert pair.send(client.try_keyboard_interactive("alice")) == [
        QuestionsAsked("Login", "Say who you are.", (("Password: ", False),))
    ]
    assert pair.send(client.answer_questions(["correct"])) == [
        QuestionsAsked("", "", (("Code: ", True),))
    ]
    assert pair.send(client.answer_questions(["123456"])) == [QuestionsAsked("", "Welcome.", ())]
    assert pair.send(client.answer_questions([])) == [
        Authenticated("alice", "keyboard-interactive")
    ]
    assert pair.granted is not None
    assert pair.granted.factors == (Factor("keyboard-interactive", "pam", None, "by pam"),)


def test_host_based() -> None:
    backend = Backend()
    backend.host = Accepted("by the host's word")
    methods = ("publickey", "hostbased")
    pair = Pair(backend, policy=policy(methods=methods, host_algorithms=("ssh-ed25519",)))
    signer = key(5)
    wanted = pair.client.try_hostbased(
        "alice", signer.public.blob, "ssh-ed25519", host_name="client.example.", client_user="al"
    )
    signature = signer.sign(wanted.data, "ssh-ed25519")
    assert pair.send(pair.client.give_signature(signature)) == [
        Authenticated("alice", "hostbased")
    ]
    (question,) = [asked for asked in backend.asked if isinstance(asked, HostQuestion)]
    assert (question.host_name, question.client_user) == ("client.example.", "al")


def test_the_banner_comes_once_and_before_the_first_answer() -> None:
    pair = Pair(policy=policy(banner="Keep out.\n"))
    events = pair.send(pair.client.try_none("alice"))
    assert events == [Banner("Keep out.\n"), AuthenticationRefused(METHODS, False)]
    assert pair.sign(key()) == [Authenticated("alice", "publickey")]


def test_two_factors_in_their_order() -> None:
    chains = parse_chains(["publickey,password"])
    pair = Pair(policy=policy(chains=chains))
    assert pair.send(pair.client.try_none("alice")) == [
        AuthenticationRefused(("publickey",), False)
    ]
    assert pair.sign(key()) == [AuthenticationRefused(("password",), True)]
    assert pair.granted is None
    assert pair.send(pair.client.try_password("alice", "correct")) == [
        Authenticated("alice", "password")
    ]
    assert pair.granted is not None


def test_r068_every_factors_grant_reaches_the_one_who_lets_in() -> None:
    pair = Pair(policy=policy(chains=parse_chains(["publickey,password"])))
    pair.sign(key())
    pair.send(pair.client.try_password("alice", "correct"))
    assert pair.granted is not None
    assert [factor.grant for factor in pair.granted.factors] == ["grant of key 0", "by password"]


def test_three_factors_two_of_them_keys() -> None:
    backend = Backend()
    backend.prompts = lambda question: (
        Prompts((("Code: ", True),)) if question.responses is None else Accepted("code")
    )
    chains = parse_chains(["publickey,publickey,keyboard-interactive"])
    pair = Pair(backend, policy=policy(chains=chains))
    assert pair.sign(key(0)) == [AuthenticationRefused(("publickey",), True)]
    assert pair.sign(key(1)) == [AuthenticationRefused(("keyboard-interactive",), True)]
    pair.send(pair.client.try_keyboard_interactive("alice"))
    assert pair.send(pair.client.answer_questions(["1"])) == [
        Authenticated("alice", "keyboard-interactive")
    ]
    assert pair.granted is not None
    assert [factor.method for factor in pair.granted.factors] == [
        "publickey",
        "publickey",
        "keyboard-interactive",
    ]


def test_one_key_does_not_count_for_two_in_any_algorithm() -> None:
    signer = key(8, "rsa")
    backend = Backend()
    backend.keys[signer.public.blob] = "grant"
    pair = Pair(backend, policy=policy(chains=parse_chains(["publickey,publickey"])))
    assert pair.sign(signer, algorithm="rsa-sha2-512") == [
        AuthenticationRefused(("publickey",), True)
    ]
    assert pair.sign(signer, algorithm="rsa-sha2-256") == [
        AuthenticationRefused(("publickey",), False)
    ]


def test_either_of_two_lists_is_enough_and_steps_count_in_both() -> None:
    chains = parse_chains(["publickey,password", "publickey,keyboard-interactive"])
    backend = Backend()
    backend.prompts = lambda question: Accepted("at once")
    pair = Pair(backend, policy=policy(chains=chains))
    assert pair.sign(key()) == [AuthenticationRefused(("password", "keyboard-interactive"), True)]
    assert pair.send(pair.client.try_keyboard_interactive("alice")) == [
        Authenticated("alice", "keyboard-interactive")
    ]


def test_a_list_names_the_submethod_it_wants_exactly_r088() -> None:
    backend = Backend()
    backend.prompts = lambda question: Accepted(question.device)
    chains = parse_chains(["keyboard-interactive:pam"])
    pair = Pair(backend, policy=policy(chains=chains, devices=("pa", "pam", "pamx")))
    pair.send(pair.client.try_keyboard_interactive("alice"))
    assert pair.granted is not None
    assert pair.granted.factors[0].device == "pam"


@pytest.mark.parametrize("hint", ["pa", "pamx", "PAM", "p,a,m"])
def test_r088_a_hint_is_no_prefix_of_a_submethod(hint: str) -> None:
    pair = Pair()
    assert pair.send(pair.client.try_keyboard_interactive("alice", hint)) == [
        AuthenticationRefused(METHODS, False)
    ]
    assert pair.server.backend.asked_about(PromptQuestion) == 0


def test_both_sides_know_whose_turn_it_is() -> None:
    pair = Pair()
    assert pair.client.waiting is Waiting.FOR_TRY
    pair.sign(key())
    assert pair.client.waiting is Waiting.NO_MORE
