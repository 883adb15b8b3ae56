# SPDX-License-Identifier: MIT
"""The order of a login: which method, which key, how often, and what is said at the end."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.client.scene import (
    GRANT,
    Answers,
    Decision,
    Scene,
    change,
    no,
    pk_ok,
    questions,
)

from tellin.client.authentication.identities import FileKeys, Identity, KeyPolicy, MemoryKeys
from tellin.client.questions import Nobody, Prompter
from tellin.errors import AuthenticationFailed, SignatureFailed
from tellin.keys import PrivateKey
from tellin.runtime.journal import Journal
from tellin.userauth.client import MAXIMUM_TRIES
from tellin.userauth.messages import signed_data

ED25519 = PrivateKey.generate("ed25519", comment="first")
ECDSA = PrivateKey.generate("ecdsa", comment="second")
RSA = PrivateKey.generate("rsa", bits=2048, comment="third")

EXTENSIONS = "server-sig-algs"


def listed(*names: str) -> dict[str, Any]:
    return {"extensions": {EXTENSIONS: ",".join(names).encode()}}


def file_keys(
    *paths: Path, prompter: Prompter | None = None, journal: Journal | None = None, **policy: Any
) -> FileKeys:
    return FileKeys(
        [str(path) for path in paths],
        explicit=True,
        policy=KeyPolicy(**policy),
        prompter=prompter or Nobody(),
        journal=journal or Journal(),
    )


def write_key(path: Path, key: PrivateKey, passphrase: bytes | None = None) -> Path:
    path.write_bytes(key.to_openssh(passphrase, rounds=1))
    path.chmod(0o600)
    return path


class LaterKeys:
    """A source that answers in its own time, as an agent does."""

    def __init__(self, *signers: PrivateKey) -> None:
        self._keys = MemoryKeys(signers)
        self.asked: list[Callable[[Sequence[Identity]], object]] = []
        self.ready = False

    def prepare(self) -> None:
        self.ready = True

    def identities(self, done: Callable[[Sequence[Identity]], object]) -> None:
        self.asked.append(done)

    def release(self) -> None:
        self._keys.identities(self.asked.pop())


# Keys


def test_a_key_at_hand_logs_in_with_one_request() -> None:
    scene = Scene(keys=[MemoryKeys([ED25519])], script=[GRANT]).play()
    assert scene.granted
    assert scene.methods == ["publickey"]
    _, fields = scene.requests[0]
    assert fields.signed
    data = signed_data(
        scene.core.session_id, user="user", algorithm="ssh-ed25519", key_blob=ED25519.public.blob
    )
    assert ED25519.public.verify(data, fields.signature, algorithm="ssh-ed25519")


def test_the_first_request_leaves_with_the_end_of_the_exchange() -> None:
    scene = Scene(keys=[MemoryKeys([ED25519])], script=[GRANT])
    # There: identification, KEXINIT and the guess. Back: the same, and the reply to the guess.
    scene.pair.step()
    scene.settle()
    assert not scene.requests
    # There: NEWKEYS, the wish for the service, and the request: nothing waits for the service.
    scene.pair.step()
    assert scene.methods == ["publickey"]


def test_every_key_is_tried_once_and_in_order() -> None:
    scene = Scene(
        keys=[MemoryKeys([ED25519, ECDSA, ED25519]), MemoryKeys([ECDSA])],
        script=[no("publickey"), no("publickey")],
    ).play()
    blobs = [fields.key_blob for _, fields in scene.requests]
    assert blobs == [ED25519.public.blob, ECDSA.public.blob]
    assert scene.core.closed


def test_a_source_that_answers_later_is_waited_for() -> None:
    later = LaterKeys(ED25519)
    scene = Scene(keys=[later], script=[GRANT]).play()
    assert not scene.requests
    later.release()
    scene.play()
    assert scene.granted
    assert scene.methods == ["publickey"]


def test_the_next_source_is_asked_when_the_first_has_nothing_left() -> None:
    later = LaterKeys(ECDSA)
    scene = Scene(keys=[MemoryKeys([ED25519]), later], script=[no("publickey"), GRANT]).play()
    later.release()
    scene.play()
    assert scene.granted
    assert [fields.key_blob for _, fields in scene.requests] == [
        ED25519.public.blob,
        ECDSA.public.blob,
    ]


def test_keys_may_be_got_ready_before_the_exchange_is_done(tmp_path: Path) -> None:
    path = write_key(tmp_path / "id", ED25519)
    scene = Scene(keys=[file_keys(path)], script=[GRANT])
    scene.login.prepare()
    # What was read then is used, whatever becomes of the file.
    path.unlink()
    assert scene.play().granted


def test_a_source_gets_ready_early_and_may_answer_late() -> None:
    later = LaterKeys(ED25519)
    scene = Scene(keys=[later], script=[GRANT])
    scene.login.prepare()
    assert later.ready
    # An agent wants to know the session before it shows its keys.
    assert not later.asked
    scene.play()
    assert not scene.requests
    later.release()
    scene.play()
    assert scene.granted
    assert scene.methods == ["publickey"]


def test_no_key_is_got_ready_that_is_not_wanted_first() -> None:
    later = LaterKeys(ED25519)
    scene = Scene(keys=[later], plan={"order": ("password", "publickey")}, script=[GRANT])
    scene.login.prepare()
    assert not later.asked
    assert scene.play().granted


def test_without_keys_the_methods_are_asked_for_first() -> None:
    scene = Scene(script=[no("password"), GRANT])
    scene.answers.passwords = ["right"]
    assert scene.play().granted
    assert scene.methods == ["none", "password"]


def test_keys_wait_where_another_method_is_preferred() -> None:
    scene = Scene(
        keys=[MemoryKeys([ED25519])],
        plan={"order": ("password", "publickey")},
        script=[no("publickey", "password"), no("publickey"), GRANT],
    )
    scene.answers.passwords = ["wrong"]
    assert scene.play().granted
    assert scene.methods == ["none", "password", "publickey"]


def test_an_rsa_key_signs_by_what_the_server_lists() -> None:
    scene = Scene(
        keys=[MemoryKeys([RSA])], script=[GRANT], server=listed("ssh-ed25519", "rsa-sha2-256")
    ).play()
    assert [fields.algorithm for _, fields in scene.requests] == ["rsa-sha2-256"]


def test_an_rsa_key_of_which_the_server_takes_no_signature_is_passed_over() -> None:
    scene = Scene(
        keys=[MemoryKeys([RSA, ED25519])], script=[GRANT], server=listed("ssh-rsa", "ssh-ed25519")
    ).play()
    assert scene.granted
    assert [fields.algorithm for _, fields in scene.requests] == ["ssh-ed25519"]
    assert scene.said("no mutual signature algorithm")


def test_an_rsa_key_tries_both_hashes_with_a_server_that_lists_none() -> None:
    scene = Scene(keys=[MemoryKeys([RSA])], script=[no("publickey"), GRANT]).play()
    assert [fields.algorithm for _, fields in scene.requests] == ["rsa-sha2-512", "rsa-sha2-256"]


def test_r077_rsa_never_signs_with_sha1_unless_it_is_named() -> None:
    scene = Scene(
        keys=[MemoryKeys([RSA])], script=[no("publickey")], server=listed("ssh-rsa")
    ).play()
    assert [method for method in scene.methods if method == "publickey"] == []


def test_r047_sha1_is_used_where_it_is_named(tmp_path: Path) -> None:
    path = write_key(tmp_path / "id", RSA)
    scene = Scene(
        keys=[file_keys(path)],
        plan={"key_algorithms": ("ssh-rsa",)},
        script=[GRANT],
        server=listed("ssh-rsa"),
    ).play()
    assert [fields.algorithm for _, fields in scene.requests] == ["ssh-rsa"]


def test_an_algorithm_that_is_not_accepted_here_is_not_used() -> None:
    scene = Scene(
        keys=[MemoryKeys([ED25519, ECDSA])],
        plan={"key_algorithms": ("ecdsa-sha2-nistp256",)},
        script=[GRANT],
    ).play()
    assert [fields.algorithm for _, fields in scene.requests] == ["ecdsa-sha2-nistp256"]


def test_a_short_rsa_key_is_passed_over() -> None:
    scene = Scene(
        keys=[MemoryKeys([RSA, ED25519])], plan={"required_rsa_size": 3072}, script=[GRANT]
    ).play()
    assert [fields.key_blob for _, fields in scene.requests] == [ED25519.public.blob]


def test_a_key_that_will_not_sign_is_given_up() -> None:
    class Broken:
        public = ED25519.public

        def sign(self, data: bytes, algorithm: str) -> bytes:
            raise SignatureFailed("the token is gone")

    scene = Scene(keys=[MemoryKeys([Broken(), ECDSA])], script=[GRANT]).play()
    assert scene.granted
    assert [fields.key_blob for _, fields in scene.requests] == [ECDSA.public.blob]


def test_r085_a_server_that_always_says_no_is_left() -> None:
    keys = [PrivateKey.generate("ed25519") for _ in range(MAXIMUM_TRIES + 5)]
    scene = Scene(keys=[MemoryKeys(keys)], script=[no("publickey")] * (MAXIMUM_TRIES + 5)).play()
    assert len(scene.requests) == MAXIMUM_TRIES
    assert isinstance(scene.core.error, AuthenticationFailed)


# Key files


def test_an_encrypted_key_is_offered_before_its_passphrase_is_asked_for(tmp_path: Path) -> None:
    answers = Answers()
    answers.passphrases = [b"secret"]
    path = write_key(tmp_path / "id", ED25519, b"secret")
    scene = Scene(keys=[file_keys(path, prompter=answers)], answers=answers, script=[pk_ok, GRANT])

    def offered(fields: Any) -> Decision:
        answers.asked.append(("offered",))
        return pk_ok(fields)

    scene.script[0] = offered
    assert scene.play().granted
    assert [fields.signed for _, fields in scene.requests] == [False, True]
    assert [asked[0] for asked in answers.asked] == ["offered", "passphrase"]


def test_a_passphrase_is_not_asked_for_a_key_the_server_refuses(tmp_path: Path) -> None:
    answers = Answers()
    path = write_key(tmp_path / "id", ED25519, b"secret")
    scene = Scene(
        keys=[file_keys(path, prompter=answers), MemoryKeys([ECDSA])],
        answers=answers,
        script=[no("publickey"), GRANT],
    )
    assert scene.play().granted
    assert not answers.asked


def test_three_wrong_passphrases_end_the_key_and_not_the_login(tmp_path: Path) -> None:
    answers = Answers()
    answers.passphrases = [b"a", b"b", b"c", b"secret"]
    lines: list[str] = []
    path = write_key(tmp_path / "id", ED25519, b"secret")
    scene = Scene(
        keys=[
            file_keys(path, prompter=answers, journal=Journal(3, lines.append)),
            MemoryKeys([ECDSA]),
        ],
        answers=answers,
        script=[pk_ok, GRANT],
    )
    assert scene.play().granted
    assert [asked[2] for asked in answers.asked] == [1, 2, 3]
    assert lines == [f'Load key "{path}": incorrect passphrase supplied to decrypt private key']


def test_a_second_passphrase_may_be_the_right_one(tmp_path: Path) -> None:
    answers = Answers(later=True)
    answers.passphrases = [b"wrong", b"secret"]
    path = write_key(tmp_path / "id", ED25519, b"secret")
    scene = Scene(keys=[file_keys(path, prompter=answers)], answers=answers, script=[pk_ok, GRANT])
    assert scene.play().granted


def test_an_old_encrypted_key_without_its_public_half_waits_for_the_list(tmp_path: Path) -> None:
    answers = Answers()
    answers.passphrases = [b"secret"]
    path = tmp_path / "id"
    path.write_bytes(RSA.to_pem(b"secret"))
    path.chmod(0o600)
    scene = Scene(
        keys=[file_keys(path, prompter=answers)],
        answers=answers,
        script=[no("publickey"), GRANT],
    )
    assert scene.play().granted
    assert scene.methods == ["none", "publickey"]
    assert answers.asked == [("passphrase", str(path), 1)]


def test_the_public_half_beside_an_old_encrypted_key_saves_the_question(tmp_path: Path) -> None:
    answers = Answers()
    path = tmp_path / "id"
    path.write_bytes(RSA.to_pem(b"secret"))
    path.chmod(0o600)
    (tmp_path / "id.pub").write_text(RSA.public.to_line() + "\n", "ascii")
    scene = Scene(
        keys=[file_keys(path, prompter=answers)],
        answers=answers,
        script=[no("password"), no("password")],
        server=listed("rsa-sha2-512"),
        plan={"order": ("publickey",)},
    ).play()
    assert scene.methods == ["publickey"]
    assert not answers.asked


def test_batch_mode_asks_for_no_passphrase(tmp_path: Path) -> None:
    answers = Answers()
    path = write_key(tmp_path / "id", ED25519, b"secret")
    scene = Scene(
        keys=[file_keys(path, prompter=answers, batch=True)],
        answers=answers,
        script=[pk_ok, no("publickey", "password")],
        plan={"order": ("publickey",)},
    ).play()
    assert not answers.asked
    assert str(scene.core.error) == "user@host: Permission denied (publickey,password)."


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_case_283_a_key_that_others_can_read_is_ignored(tmp_path: Path, mode: int) -> None:
    lines: list[str] = []
    path = write_key(tmp_path / "id", ED25519)
    path.chmod(mode)
    scene = Scene(
        keys=[file_keys(path, journal=Journal(3, lines.append))], script=[no("publickey")]
    ).play()
    assert scene.methods == ["none"]
    assert "@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @" in lines
    assert f"Permissions 0{mode:o} for '{path}' are too open." in lines
    assert lines[-1] == f'Load key "{path}": bad permissions'


def test_files_that_are_no_keys_are_named_and_passed_over(tmp_path: Path) -> None:
    lines: list[str] = []
    junk, folder, empty = tmp_path / "junk", tmp_path / "folder", tmp_path / "empty"
    junk.write_text("nothing", "ascii")
    empty.touch()
    folder.mkdir()
    for path in (junk, empty):
        path.chmod(0o600)
    good = write_key(tmp_path / "id", ED25519)
    scene = Scene(
        keys=[
            file_keys(
                tmp_path / "missing", junk, folder, empty, good, journal=Journal(3, lines.append)
            )
        ],
        script=[GRANT],
    )
    assert scene.play().granted
    assert [line.split(":")[0] for line in lines] == [
        "no such identity",
        f'Load key "{junk}"',
        f'Load key "{folder}"',
        f'Load key "{empty}"',
    ]


def test_a_public_key_in_place_of_a_private_one_is_passed_over_silently(tmp_path: Path) -> None:
    lines: list[str] = []
    path = tmp_path / "id.pub"
    path.write_text(ED25519.public.to_line() + "\n", "ascii")
    path.chmod(0o600)
    scene = Scene(
        keys=[file_keys(path, journal=Journal(3, lines.append))], script=[no("publickey")]
    ).play()
    assert scene.methods == ["none"]
    assert not lines


# Passwords and questions


def test_a_password_is_asked_for_three_times() -> None:
    scene = Scene(script=[no("password")] * 4)
    scene.answers.passwords = ["a", "b", "c", "d"]
    scene.play()
    assert scene.methods == ["none", "password", "password", "password"]
    assert [line for line in scene.lines if "try again" in line] == [
        "Permission denied, please try again.",
        "Permission denied, please try again.",
    ]
    assert [asked[1:] for asked in scene.answers.asked] == [
        ("user", "host", 1),
        ("user", "host", 2),
        ("user", "host", 3),
    ]


def test_a_password_that_nobody_gives_is_not_asked_for_again() -> None:
    scene = Scene(script=[no("password")]).play()
    assert scene.methods == ["none"]
    assert len(scene.answers.asked) == 1
    assert str(scene.core.error) == "user@host: Permission denied (password)."


def test_a_password_that_has_run_out_is_changed() -> None:
    scene = Scene(script=[no("password"), change("It is old."), GRANT])
    scene.answers.passwords = ["old"]
    scene.answers.new_passwords = [("old", "new")]
    assert scene.play().granted
    _, fields = scene.requests[-1]
    assert (fields.changing, fields.password, fields.new_password) == (True, b"old", b"new")
    assert scene.answers.asked[-1] == ("new password", "It is old.")


def test_a_change_of_password_that_never_pleases_ends() -> None:
    scene = Scene(script=[no("password"), *[change("Again.")] * 20])
    scene.answers.passwords = ["old"]
    scene.answers.new_passwords = [("old", "new")] * 20
    scene.play()
    assert scene.core.closed
    assert len(scene.requests) < 10


def test_questions_are_answered_in_rounds() -> None:
    scene = Scene(
        script=[
            no("keyboard-interactive"),
            questions(("Password: ", False), ("Colour: ", True), name="Two"),
            questions(),
            GRANT,
        ]
    )
    scene.answers.replies = [("secret", "blue")]
    assert scene.play().granted
    assert scene.methods == ["none", "keyboard-interactive", "responses", "responses"]
    assert scene.requests[2][1].responses == (b"secret", b"blue")
    assert scene.requests[3][1].responses == ()


def test_questions_that_were_answered_wrong_come_three_times() -> None:
    ask = questions(("Password: ", False))
    scene = Scene(
        script=[no("keyboard-interactive"), *[ask, no("keyboard-interactive")] * 4],
    )
    scene.answers.replies = [("a",), ("b",), ("c",), ("d",)]
    scene.play()
    assert scene.methods.count("keyboard-interactive") == 3


def test_a_server_that_asks_nothing_is_not_asked_twice() -> None:
    scene = Scene(script=[no("keyboard-interactive"), no("keyboard-interactive")]).play()
    assert scene.methods == ["none", "keyboard-interactive"]


def test_questions_that_nobody_answers_give_way_to_the_password() -> None:
    scene = Scene(
        script=[no("keyboard-interactive", "password"), questions(("Token: ", False)), GRANT]
    )
    scene.answers.passwords = ["right"]
    assert scene.play().granted
    assert scene.methods == ["none", "keyboard-interactive", "password"]


def test_answers_may_come_when_the_connection_is_gone() -> None:
    answers = Answers(later=True)
    answers.passwords = ["right"]
    scene = Scene(script=[no("password")], answers=answers)
    scene.pair.pump()
    scene.core.disconnect()
    assert answers.release()
    assert scene.methods == ["none"]


# Several factors, and the end


def test_partial_success_goes_on_with_the_next_factor() -> None:
    scene = Scene(
        keys=[MemoryKeys([ED25519, ECDSA])], script=[no("password", partial=True), GRANT]
    )
    scene.answers.passwords = ["right"]
    assert scene.play().granted
    assert scene.methods == ["publickey", "password"]
    assert 'Authenticated using "publickey" with partial success.' in scene.lines


def test_two_keys_can_be_two_factors() -> None:
    scene = Scene(
        keys=[MemoryKeys([ED25519, ECDSA])], script=[no("publickey", partial=True), GRANT]
    )
    assert scene.play().granted
    assert [fields.key_blob for _, fields in scene.requests] == [
        ED25519.public.blob,
        ECDSA.public.blob,
    ]


def test_the_error_says_what_was_tried_and_what_is_allowed() -> None:
    scene = Scene(
        keys=[MemoryKeys([ED25519])],
        plan={"order": ("publickey", "password")},
        script=[
            no("publickey", "password", "hostbased"),
            no("publickey", "password", "hostbased"),
        ],
    )
    scene.answers.passwords = ["wrong"]
    scene.play()
    error = scene.core.error
    assert isinstance(error, AuthenticationFailed)
    assert str(error) == "user@host: Permission denied (publickey,password,hostbased)."
    assert error.tried == ("publickey", "password")
    assert error.allowed == ("publickey", "password", "hostbased")
    assert "hostbased" in error.hint
    assert scene.login.failed is error


def test_case_167_a_list_of_methods_can_steer_no_terminal() -> None:
    scene = Scene(script=[no("pass\x1b[2Jword", "x" * 65, "publickey")]).play()
    assert str(scene.core.error) == "user@host: Permission denied (publickey)."


def test_methods_that_were_forbidden_are_left_out() -> None:
    scene = Scene(script=[no("password", "keyboard-interactive")])
    scene.answers.passwords = ["right"]
    scene.login.forbid("password", "keyboard-interactive")
    scene.play()
    assert scene.methods == ["none"]
    assert not scene.answers.asked


def test_a_login_without_proof_is_known_as_such() -> None:
    scene = Scene(script=[GRANT]).play()
    assert scene.granted
    assert not scene.login.proved
    scene = Scene(script=[no("password"), GRANT])
    scene.answers.passwords = ["right"]
    assert scene.play().login.proved


def test_r023_a_client_that_refuses_trivial_logins_leaves() -> None:
    scene = Scene(script=[GRANT], client_core={"refuse_trivial": True}).play()
    assert scene.core.closed
    assert "without any proof" in str(scene.core.error)


def test_the_story_of_a_login_is_told_in_known_words() -> None:
    scene = Scene(keys=[MemoryKeys([ED25519])], script=[no("publickey", "password"), GRANT])
    scene.answers.passwords = ["right"]
    scene.play()
    fingerprint = ED25519.public.fingerprint()
    wanted = [
        "debug1: Next authentication method: publickey",
        f"debug1: Offering public key: first ED25519 {fingerprint} explicit",
        "debug1: Authentications that can continue: publickey,password",
        "debug1: Next authentication method: password",
    ]
    told = iter(scene.lines)
    assert all(line in told for line in wanted), scene.lines


@pytest.mark.parametrize("ready", [True, False])
@pytest.mark.parametrize(
    ("bound", "method"), [(True, "publickey-hostbound-v00@openssh.com"), (False, "publickey")]
)
def test_signatures_are_bound_to_the_host_key_unless_the_plan_says_otherwise(
    tmp_path: Path, ready: bool, bound: bool, method: str
) -> None:
    path = write_key(tmp_path / "key", ED25519, None if ready else b"secret")
    answers = Answers()
    answers.passphrases = [b"secret"]
    scene = Scene(
        keys=[file_keys(path, prompter=answers)],
        script=[GRANT] if ready else [pk_ok, GRANT],
        plan={"bound": bound},
        server={"extensions": {"publickey-hostbound@openssh.com": b"0"}},
    ).play()
    assert scene.granted
    assert scene.methods[-1] == method
