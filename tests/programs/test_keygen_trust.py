# SPDX-License-Identifier: MIT
"""Revocation lists and signatures of files made by one ssh-keygen, judged by the other: every form, every option."""

from pathlib import Path

import pytest
from tests.programs.keygen_twins import KEYS, Answer, Twins

from tellin.keys import Certificate, PrivateKey, RevocationList

pytestmark = pytest.mark.peer("ssh-keygen")

MAKERS = pytest.mark.parametrize("maker", ["ours", "theirs"])
OTHER = PrivateKey.generate("ecdsa", comment="other")
KINDS = {
    "ed25519": KEYS["a"],
    "ecdsa": KEYS["b"],
    "ecdsa-384": PrivateKey.generate("ecdsa", bits=384, comment="384"),
    "ecdsa-521": PrivateKey.generate("ecdsa", bits=521, comment="521"),
    "rsa": KEYS["r"],
}


@pytest.fixture
def twins(tmp_path: Path) -> Twins:
    twins = Twins(tmp_path)
    twins.put("other", OTHER.to_openssh(), mode=0o600)
    twins.put("other.pub", f"{OTHER.public.to_line()}\n")
    twins.put("msg", "hello\n")
    return twins


def made_by(twins: Twins, maker: str, *arguments: object, gives: str, typed: str = "") -> Answer:
    """Have one program make a file, and give it to both."""
    done = (twins.run_ours if maker == "ours" else twins.run_theirs)(*arguments, typed=typed)
    assert done.status == 0, done
    places = (twins.ours, twins.theirs)
    source, target = places if maker == "ours" else reversed(places)
    (target / gives).write_bytes((source / gives).read_bytes())
    return done


def line(key: PrivateKey) -> str:
    return key.public.with_comment("").to_line()


# Revocation lists


def certificate(authority: PrivateKey, key: PrivateKey, serial: int, key_id: str) -> str:
    made = Certificate.issue(
        authority, key.public, key_id=key_id, serial=serial, principals=["me"], nonce=b"n" * 32
    )
    return made.to_line() + "\n"


SUBJECTS = ("a.pub", "b.pub", "r.pub", "ca.pub", "other.pub", "one.pub", "two.pub", "three.pub",
            "four.pub")  # fmt: skip
# What a file of words revokes, with the authority of -s.
WORDS = {
    "keys": ("{a}\n{b} # words\n\n# words\n", "ca.pub", {"a.pub", "b.pub", "one.pub", "two.pub"}),
    "key": ("key: {r}\n", None, {"r.pub", "three.pub"}),
    "sha1": ("sha1: {a}\n", None, {"a.pub", "one.pub", "two.pub"}),
    "sha256": ("SHA256: {b}\n", None, {"b.pub"}),
    "hash": ("hash: {a_print}\n", None, {"a.pub", "one.pub", "two.pub"}),
    "authority": ("{ca}\n", None, {"ca.pub", "one.pub", "three.pub"}),
    "serial": ("serial: 5\n", "ca.pub", {"one.pub"}),
    "serials": ("serial: 1-4\nserial: 0x6-100\nserial: 4711\n", "ca.pub", {"three.pub"}),
    "serial of anybody": ("serial: 5\n", "none", {"one.pub", "two.pub", "four.pub"}),
    "every serial": ("serial: 1-18446744073709551615\n", "ca.pub", {"one.pub", "three.pub"}),
    "id": ("id: the first\n", "ca.pub", {"one.pub"}),
    "id of anybody": ("id: the first\n", "none", {"one.pub", "two.pub"}),
    "certificate": ("{one}", None, {"one.pub"}),
    "certificate without a serial": ("{zero}", None, {"zero.pub"}),
    "all": ("serial: 4711\nid: the first\nsha1: {b}\n", "other.pub", {"two.pub", "b.pub"}),
}


@pytest.fixture
def subjects(twins: Twins) -> Twins:
    ca = KEYS["ca"]
    twins.put("one.pub", certificate(ca, KEYS["a"], 5, "the first"))
    twins.put("two.pub", certificate(OTHER, KEYS["a"], 5, "the first"))
    twins.put("three.pub", certificate(ca, KEYS["r"], 4711, "the third"))
    twins.put("four.pub", certificate(OTHER, KINDS["ecdsa-384"], 5, "the fourth"))
    twins.put("zero.pub", certificate(OTHER, KINDS["ecdsa-384"], 0, "none"))
    return twins


@pytest.mark.sampled(2)
@MAKERS
@pytest.mark.parametrize("form", WORDS)
def test_a_list_made_by_one_is_judged_alike_by_both(
    subjects: Twins, form: str, maker: str
) -> None:
    words, authority, revoked = WORDS[form]
    texts = {
        **{name: line(key) for name, key in KEYS.items()},
        "a_print": KEYS["a"].public.fingerprint(),
        "one": (subjects.ours / "one.pub").read_text(),
        "zero": (subjects.ours / "zero.pub").read_text(),
    }
    subjects.put("words", words.format(**texts))
    signer = ("-s", authority) if authority else ()
    made_by(subjects, maker, "-k", "-q", "-f", "krl", *signer, "-z", "7", "words", gives="krl")
    for subject in (*SUBJECTS, "zero.pub"):
        asked = subjects.same("-Q", "-f", "krl", subject)
        assert asked.status == (subject in revoked), subject
        assert asked.out.endswith(": REVOKED\n" if subject in revoked else ": ok\n")
    assert "# KRL version 7\n" in subjects.same("-Q", "-l", "-f", "krl").out


@MAKERS
def test_a_list_of_one_is_added_to_by_the_other(subjects: Twins, maker: str) -> None:
    other = "theirs" if maker == "ours" else "ours"
    subjects.put("words", "serial: 5\nid: x\n")
    subjects.put("more", "serial: 6-9\nserial: 4711\n")
    first = ("-k", "-q", "-f", "krl", "-s", "ca.pub", "-z", "1", "words", "b.pub")
    made_by(subjects, maker, *first, gives="krl")
    second = ("-k", "-q", "-u", "-f", "krl", "-s", "ca.pub", "-z", "2", "more", "four.pub")
    made_by(subjects, other, *second, gives="krl")
    third = ("-k", "-q", "-u", "-f", "krl", "-s", "other.pub", "words")
    made_by(subjects, maker, *third, gives="krl")
    asked = subjects.same("-Q", "-l", "-f", "krl", *SUBJECTS)
    assert asked.status == 1
    assert "# KRL version 2\n" in asked.out
    assert "serial: 5-9\nserial: 4711\n" in asked.out
    verdicts = dict(row.rsplit(": ", 1) for row in asked.out.splitlines()[-len(SUBJECTS) :])
    gone = {row.split(" ")[0] for row, verdict in verdicts.items() if verdict == "REVOKED"}
    assert gone == {"b.pub", "one.pub", "two.pub", "three.pub", "four.pub"}


def test_case_301_a_damaged_list_is_an_error_and_never_an_ok(twins: Twins) -> None:
    made = RevocationList()
    made.add_key(KEYS["a"].public)
    made.add_serials(5, 900, authority=KEYS["ca"].public)
    whole = made.to_bytes()
    damaged = {
        "magic": b"X" + whole[1:],
        "version": whole[:11] + b"\2" + whole[12:],
        "cut": whole[:-1],
        "cut early": whole[:30],
        "longer": whole + b"\0",
        "empty": b"",
    }
    for name, data in damaged.items():
        twins.put("krl", data)
        asked = [run("-Q", "-f", "krl", "b.pub") for run in (twins.run_ours, twins.run_theirs)]
        assert [answer.status for answer in asked] == [255, 255], name
        assert not any("ok" in answer.out for answer in asked), name


# Signatures


@MAKERS
@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_of_one_is_taken_by_the_other(
    twins: Twins, kind: str, hash_name: str, maker: str
) -> None:
    key = KINDS[kind]
    twins.put("key", key.to_openssh(b"secret", rounds=1), mode=0o600)
    twins.put("key.pub", f"{key.public.to_line()}\n")
    twins.put("allowed", f"me@here {line(key)}\n")
    sign = ("-Y", "sign", "-q", "-f", "key", "-n", "file", "-P", "secret")
    made_by(twins, maker, *sign, "-O", f"hashalg={hash_name}", "msg", gives="msg.sig")
    check = ("-Y", "check-novalidate", "-n", "file", "-s", "msg.sig")
    assert twins.same(*check, typed="hello\n").status == 0
    assert twins.same(*check, typed="hello").status == 255
    verify = ("-Y", "verify", "-f", "allowed", "-n", "file", "-s", "msg.sig")
    good = twins.same(*verify, "-I", "me@here", "-O", "print-pubkey", typed="hello\n")
    assert good.status == 0
    assert good.out.endswith(f"{line(key)}\n")
    assert twins.same(*verify, "-I", "you@here", typed="hello\n").status == 255
    found = twins.same("-Y", "find-principals", "-s", "msg.sig", "-f", "allowed")
    assert (found.status, found.out) == (0, "me@here\n")


NOW = "20200601120000Z"
# A line of allowed_signers, of which {} is the key; and whether it lets me sign for "file" at NOW.
LINES = {
    "plain": ("me {a}", True),
    "several": ("you,*@there,m? {a}", True),
    "not me": ("you,!me,* {a}", False),
    "another key": ("me {b}", False),
    "no key": ("me ssh-ed25519 AAAA", False),
    "the second line": ("me {b}\n# words\n\nme {a}", True),
    "namespace": ('me namespaces="git,file" {a}', True),
    "namespace pattern": ('me namespaces="fi*" {a}', True),
    "another namespace": ('me namespaces="git" {a}', False),
    "not this namespace": ('me namespaces="!file,*" {a}', False),
    "after": ('me valid-after="20200601" {a}', True),
    "after, later": ('me valid-after="20200602" {a}', False),
    "before": ('me valid-before="20200602Z" {a}', True),
    "before, earlier": ('me valid-before="202006011159Z" {a}', False),
    "between": ('me valid-after="20200601Z",valid-before="20200602Z" {a}', True),
    "outside": ('me valid-after="20200301Z",valid-before="20200401Z" {a}', False),
    "upside down": ('me valid-after="20200701Z",valid-before="20200501Z" {a}', False),
    "all of them": ('me namespaces="file",valid-after="20200101",valid-before="2021" {a}', False),
    "an unknown option": ("me frobnicate {a}", False),
    "option twice": ('me namespaces="file",namespaces="file" {a}', False),
    "quoted names": ('"me" {a}', True),
    "authority of a plain key": ("me cert-authority {a}", False),
    "names in upper case": ("ME {a}", False),
    "options in upper case": ('me NAMESPACES="file" {a}', True),
}


@pytest.mark.parametrize("form", LINES)
def test_who_may_sign_is_read_alike(twins: Twins, form: str) -> None:
    text, allowed = LINES[form]
    twins.put("allowed", text.format(a=line(KEYS["a"]), b=line(KEYS["b"])) + "\n")
    sign = ("-Y", "sign", "-q", "-f", "a", "-n", "file", "msg")
    made_by(twins, "theirs", *sign, gives="msg.sig")
    verify = ("-Y", "verify", "-f", "allowed", "-n", "file", "-s", "msg.sig", "-I", "me")
    asked = [
        run(*verify, "-O", f"verify-time={NOW}", typed="hello\n")
        for run in (twins.run_ours, twins.run_theirs)
    ]
    assert [(answer.status, answer.out) for answer in asked] == [
        (0, asked[1].out) if allowed else (255, asked[1].out)
    ] * 2
    for question in (
        ("find-principals", "-s", "msg.sig", "-O", f"verify-time={NOW}"),
        ("match-principals", "-I", "me"),
    ):
        ours, theirs = (
            run("-Y", *question, "-f", "allowed") for run in (twins.run_ours, twins.run_theirs)
        )
        assert (ours.status, ours.out) == (theirs.status, theirs.out), question


# Signatures of certificates: the names and times of a certificate, and who signed it.
CERTIFIED = {
    "good": (["-n", "me"], "me cert-authority {ca}", True),
    "any name": (["-n", "me"], "* cert-authority {ca}", True),
    "another authority": (["-n", "me"], "me cert-authority {b}", False),
    "no authority": (["-n", "me"], "me {ca}", False),
    "its own key": (["-n", "me"], "me {a}", False),
    "for somebody else": (["-n", "you"], "* cert-authority {ca}", False),
    "for nobody": ([], "* cert-authority {ca}", False),
    "of a host": (["-h", "-n", "me"], "me cert-authority {ca}", False),
    "in its time": (["-n", "me", "-V", "20200101Z:20210101Z"], "me cert-authority {ca}", True),
    "too late": (["-n", "me", "-V", "20190101Z:20200101Z"], "me cert-authority {ca}", False),
    "too early": (["-n", "me", "-V", "20210101Z:20220101Z"], "me cert-authority {ca}", False),
    "namespace": (["-n", "me"], 'me cert-authority,namespaces="file" {ca}', True),
    "another namespace": (["-n", "me"], 'me cert-authority,namespaces="git" {ca}', False),
}


@MAKERS
@pytest.mark.parametrize("form", CERTIFIED)
def test_a_certificate_signs_for_whom_its_authority_lets_it(
    twins: Twins, form: str, maker: str
) -> None:
    wishes, text, allowed = CERTIFIED[form]
    twins.put("allowed", text.format(**{name: line(key) for name, key in KEYS.items()}) + "\n")
    certify = ("-q", "-s", "ca", "-I", "id", *wishes, "a.pub")
    made_by(twins, maker, *certify, gives="a-cert.pub")
    sign = ("-Y", "sign", "-q", "-f", "a-cert.pub", "-n", "file", "msg")
    made_by(twins, maker, *sign, gives="msg.sig")
    verify = ("-Y", "verify", "-f", "allowed", "-n", "file", "-s", "msg.sig", "-I", "me")
    ours, theirs = (
        run(*verify, "-O", f"verify-time={NOW}", typed="hello\n")
        for run in (twins.run_ours, twins.run_theirs)
    )
    assert (ours.status, ours.out) == (theirs.status, theirs.out)
    assert ours.status == (0 if allowed else 255)
    question = ("-Y", "find-principals", "-s", "msg.sig", "-f", "allowed")
    ours, theirs = (
        run(*question, "-O", f"verify-time={NOW}") for run in (twins.run_ours, twins.run_theirs)
    )
    assert (ours.status, ours.out) == (theirs.status, theirs.out)


@MAKERS
def test_a_revoked_key_signs_no_more(subjects: Twins, maker: str) -> None:
    subjects.put("allowed", f"me {line(KEYS['a'])}\nme cert-authority {line(KEYS['ca'])}\n")
    subjects.put("serial", "serial: 5\n")
    subjects.put("plain", f"{line(KEYS['a'])}\n")
    subjects.put("authority", f"{line(KEYS['ca'])}\n")
    lists = {
        "of the key": (("a.pub",), {"a", "one"}),
        "of the serial": (("-s", "ca.pub", "serial"), {"one"}),
        "of the authority": (("authority",), {"one"}),
        "of others": (("b.pub",), set()),
    }
    for name, key in (("a", "a"), ("one", "one.pub")):
        sign = ("-Y", "sign", "-q", "-f", key, "-n", "file", "msg")
        if name == "one":
            # The private half lies beside the certificate under its name.
            subjects.put("one", KEYS["a"].to_openssh(), mode=0o600)
        for place in (subjects.ours, subjects.theirs):
            (place / "msg.sig").unlink(missing_ok=True)
        made_by(subjects, maker, *sign, gives="msg.sig")
        verify = ("-Y", "verify", "-f", "allowed", "-n", "file", "-s", "msg.sig", "-I", "me")
        assert subjects.same(*verify, typed="hello\n").status == 0
        for words, revoked in lists.values():
            made_by(subjects, maker, "-k", "-q", "-f", "krl", *words, gives="krl")
            status = 255 if name in revoked else 0
            asked = subjects.same(*verify, "-r", "krl", typed="hello\n")
            assert asked.status == status, (name, words)
        # A list of lines, as RevokedKeys takes it.
        for file, revoked in (("plain", {"a", "one"}), ("authority", {"one"})):
            status = 255 if name in revoked else 0
            asked = subjects.same(*verify, "-r", file, typed="hello\n")
            assert asked.status == status, (name, file)
