# SPDX-License-Identifier: MIT
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import pytest
from tests.interop.peers import Account

from tellin.server.authentication.passwords import (
    ShadowEntry,
    SystemPasswords,
    Verdict,
    failure_delay,
    find_entry,
    load_crypt,
)

TODAY = 20_000
STORED = "$1$salt$abcdefghijklmnopqrstuv"


class Stub:
    """A crypt(3) that answers what it is told to, and counts."""

    def __init__(self, answers: dict[bytes, bytes | None] | None = None) -> None:
        self.answers = answers or {}
        self.calls: list[tuple[bytes, bytes]] = []

    def __call__(self, password: bytes, setting: bytes) -> bytes | None:
        self.calls.append((password, setting))
        return self.answers.get(password, b"$1$salt$" + password.ljust(22, b"."))


def passwords(stub: Stub, entry: ShadowEntry | None, *, user: str = "alice") -> SystemPasswords:
    return SystemPasswords(
        crypt=stub,
        lookup=lambda name: entry if name == user else None,
        today=lambda: TODAY,
        fake_setting="$1$fakesalt$",
    )


def right(entry: ShadowEntry | None = None) -> tuple[SystemPasswords, Stub]:
    stub = Stub({b"correct": STORED.encode()})
    return passwords(stub, entry or ShadowEntry(STORED)), stub


def test_the_right_password_is_right_and_others_are_wrong() -> None:
    checker, _ = right()
    assert checker.verify("alice", "correct") is Verdict.RIGHT
    assert checker.verify("alice", "Correct") is Verdict.WRONG
    assert checker.verify("alice", "correct ") is Verdict.WRONG
    assert checker.verify("bob", "correct") is Verdict.WRONG


@pytest.mark.parametrize("token", [None, b"*0", b"*1", b"", b"*", b"x", b"*failed-at-length"])
@pytest.mark.parametrize("stored", ["*0", "*1", "*", "x", "*failed-at-length", STORED])
def test_r063_a_hash_that_failed_never_counts_as_one(token: bytes | None, stored: str) -> None:
    """CVE-2026-123158: the token of failure stood in the shadow file as well."""
    stub = Stub({b"any": token})
    assert passwords(stub, ShadowEntry(stored)).verify("alice", "any") is Verdict.WRONG


@pytest.mark.parametrize(
    "stored", ["*", "!", "!!", "", "x", "*LK*", "!" + STORED, "*" + STORED, "NP", "no"]
)
def test_r063_case_163_a_locked_account_has_no_password(stored: str) -> None:
    stub = Stub({b"any": stored.encode(), b"fits": stored.lstrip("!*").encode()})
    checker = passwords(stub, ShadowEntry(stored))
    for password in ("any", "fits", stored or "x", ""):
        assert checker.verify("alice", password, permit_empty=False) is Verdict.WRONG


def test_case_163_an_unknown_kind_of_hash_is_wrong() -> None:
    checker = SystemPasswords(lookup=lambda _: ShadowEntry("$9$salt$abcdefghijklmnop"))
    assert checker.verify("alice", "x") is Verdict.WRONG


def test_r062_a_password_of_1025_bytes_is_wrong_without_a_hash_for_everybody() -> None:
    checker, stub = right()
    for user in ("alice", "nobody-such"):
        assert checker.verify(user, "x" * 1025) is Verdict.WRONG
        assert checker.verify(user, "\u00fc" * 513) is Verdict.WRONG
        assert checker.verify(user, "correct\0") is Verdict.WRONG
    assert stub.calls == []
    checker.verify("alice", "x" * 1024)
    assert len(stub.calls) == 1


@pytest.mark.parametrize(
    "entry",
    [None, ShadowEntry("*"), ShadowEntry("!" + STORED), ShadowEntry("")],
    ids=["no such user", "no password", "locked", "empty"],
)
def test_r061_one_hash_of_the_same_kind_is_computed_whatever_the_account(
    entry: ShadowEntry | None,
) -> None:
    stub = Stub()
    assert passwords(stub, entry).verify("alice", "guess") is Verdict.WRONG
    assert stub.calls == [(b"guess", b"$1$fakesalt$")]


def test_r061_a_hash_that_fails_at_once_is_made_up_for() -> None:
    stub = Stub({b"guess": None})
    passwords(stub, ShadowEntry(STORED)).verify("alice", "guess")
    assert stub.calls == [(b"guess", STORED.encode()), (b"guess", b"$1$fakesalt$")]


@pytest.mark.slow
@pytest.mark.alone
def test_r061_the_real_crypt_takes_as_long_for_users_who_do_not_exist() -> None:
    crypt = load_crypt()
    stored = crypt(b"correct", b"$6$rounds=5000$saltsalt$")
    assert stored is not None
    checker = SystemPasswords(
        lookup=lambda name: ShadowEntry(stored.decode()) if name == "alice" else None,
        fake_setting="$6$rounds=5000$fakesalt$",
    )
    times: dict[str, list[float]] = {"alice": [], "nobody-such": []}
    for _ in range(15):
        for user, taken in times.items():
            started = time.perf_counter()
            assert checker.verify(user, "guess") is Verdict.WRONG
            taken.append(time.perf_counter() - started)
    assert abs(median(times["alice"]) - median(times["nobody-such"])) < 0.005
    assert median(times["nobody-such"]) > 0.0005


def test_r090_an_empty_password_opens_only_what_has_none_and_only_where_permitted() -> None:
    empty = passwords(Stub(), ShadowEntry(""))
    assert empty.verify("alice", "") is Verdict.WRONG
    assert empty.verify("alice", "", permit_empty=True) is Verdict.RIGHT
    assert empty.verify("alice", "x", permit_empty=True) is Verdict.WRONG
    assert empty.verify("bob", "", permit_empty=True) is Verdict.WRONG
    for stored in (STORED, "*", "!", "x"):
        other = passwords(Stub({b"": stored.encode()}), ShadowEntry(stored))
        assert other.verify("alice", "", permit_empty=True) is Verdict.WRONG


@pytest.mark.parametrize(
    ("entry", "verdict"),
    [
        (ShadowEntry(STORED, expires=TODAY - 1), Verdict.ACCOUNT_EXPIRED),
        (ShadowEntry(STORED, expires=TODAY), Verdict.RIGHT),
        (ShadowEntry(STORED, last_change=0), Verdict.RUN_OUT),
        (ShadowEntry(STORED, last_change=TODAY - 91, maximum=90), Verdict.RUN_OUT),
        (ShadowEntry(STORED, last_change=TODAY - 90, maximum=90), Verdict.RIGHT),
        (ShadowEntry(STORED, last_change=TODAY - 91, maximum=99999), Verdict.RIGHT),
        (
            ShadowEntry(STORED, last_change=TODAY - 100, maximum=90, inactive=9),
            Verdict.ACCOUNT_EXPIRED,
        ),
        (ShadowEntry(STORED, last_change=TODAY - 100, maximum=90, inactive=10), Verdict.RUN_OUT),
    ],
)
def test_a_right_password_may_have_run_out_or_its_account(
    entry: ShadowEntry, verdict: Verdict
) -> None:
    checker, _ = right(entry)
    assert checker.verify("alice", "correct") is verdict
    assert checker.verify("alice", "guess") is Verdict.WRONG


def test_an_empty_password_does_not_outlive_its_account() -> None:
    checker = passwords(Stub(), ShadowEntry("", expires=1))
    assert checker.verify("alice", "", permit_empty=True) is Verdict.ACCOUNT_EXPIRED


@pytest.mark.parametrize("setting", ["$6$saltsalt$", "$5$saltsalt$", "$1$saltsalt$"])
def test_the_systems_crypt_computes_what_openssl_computes(setting: str) -> None:
    kind, salt = setting.split("$")[1:3]
    expected = subprocess.run(
        ["openssl", "passwd", f"-{kind}", "-salt", salt, "correct horse"],
        check=True,
        capture_output=True,
    ).stdout.strip()
    assert load_crypt()(b"correct horse", setting.encode()) == expected


def test_several_threads_may_hash_at_once() -> None:
    crypt = load_crypt()
    settings = [b"$5$salt%d$" % number for number in range(8)]
    expected = [crypt(b"pw", setting) for setting in settings]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda setting: crypt(b"pw", setting), settings)) == expected


def test_the_fake_setting_is_one_that_the_machine_can_compute() -> None:
    checker = SystemPasswords(lookup=lambda _: None)
    crypt = load_crypt()
    computed = crypt(b"x", checker._fake)
    assert computed is not None
    assert len(computed) >= 13
    assert not computed.startswith(b"*")


def test_r210_a_hash_does_not_show_in_repr() -> None:
    assert STORED not in repr(ShadowEntry(STORED))


@pytest.mark.parametrize("user", ["nobody-such", "a\0b", "\udcff", "", "x" * 10_000])
def test_accounts_that_do_not_exist_have_no_entry(user: str) -> None:
    assert find_entry(user) is None


def test_failure_delay_is_a_users_own_and_hides_how_long_it_took() -> None:
    def total(user: str, elapsed: float, secret: bytes = b"secret") -> float:
        return failure_delay(secret, user, elapsed) + elapsed

    assert total("alice", 0.0) == pytest.approx(total("alice", 0.004))
    assert 0.005 <= total("alice", 0.0) <= 0.009
    assert total("alice", 0.0) != total("bob", 0.0)
    assert total("alice", 0.0) != total("alice", 0.0, b"another")
    assert 0.1 <= total("alice", 0.1) < 0.2
    doubled = total("alice", 0.1) / total("alice", 0.0)
    assert any(doubled == pytest.approx(2**power) for power in range(10))
    assert failure_delay(b"s", "alice", 3.0) > 0


@pytest.mark.root
def test_a_real_account_of_this_machine(account: Account) -> None:
    checker = SystemPasswords()
    assert checker.verify(account.name, account.password) is Verdict.RIGHT
    assert checker.verify(account.name, account.password + "x") is Verdict.WRONG
    assert checker.verify(account.name, "") is Verdict.WRONG
    subprocess.run(["usermod", "--lock", account.name], check=True)
    try:
        assert checker.verify(account.name, account.password) is Verdict.WRONG
    finally:
        subprocess.run(["usermod", "--unlock", account.name], check=True)
