# SPDX-License-Identifier: MIT
"""ssh-keygen's authority, revocations, signatures, hosts, records and moduli, beside OpenSSH's."""

import random
import re
from pathlib import Path

import pytest
from tests.keys.software_authenticator import SoftwareAuthenticator
from tests.programs.keygen_twins import KEYS, Twins, signing_twins

from tellin.algorithms.safe_primes import candidates, generator_of, is_prime, small_primes
from tellin.keys import Certificate, RevocationList, load_certificate
from tellin.programs.command import load
from tellin.programs.keygen import sign as keygen_sign

pytestmark = pytest.mark.peer("ssh-keygen")


@pytest.fixture
def twins(tmp_path: Path) -> Twins:
    return Twins(tmp_path)


def line(name: str) -> str:
    return KEYS[name].public.with_comment("").to_line()


@pytest.mark.parametrize("mode", [["-l"], ["-B"], ["-L"], ["-r", "host"]], ids=str)
def test_r108_a_line_is_parted_as_openssh_parts_it(twins: Twins, mode: list[str]) -> None:
    for number, space in enumerate(("\u00a0", "\u2003", "\x0b", "\x0c", "\t", "  ")):
        twins.put(f"{number}.pub", KEYS["a"].public.to_line().replace(" ", space) + "\n")
        done = twins.same(*mode, "-f", f"{number}.pub")
        if mode != ["-L"]:
            assert (done.status == 0) is (number >= 4)


# Certificates


SIGNING = {
    "plain": ["-I", "id", "a.pub"],
    "several": ["-I", "id", "-z", "+7", "a.pub", "b.pub", "r.pub"],
    "names": ["-I", "id", "-n", "alice,bob", "-V", "20200101:20300101", "a.pub"],
    "a while": ["-I", "id", "-V", "+1h", "a.pub"],
    "around now": ["-I", "id", "-V", "-1w:+54w5d", "a.pub"],
    "always": ["-I", "id", "-V", "always:forever", "a.pub"],
    "hexadecimal": ["-I", "id", "-V", "0x5:0x5f5e100ff", "a.pub"],
    "with minutes": ["-I", "id", "-V", "202001011230:203001011230Z", "a.pub"],
    "host": ["-I", "id", "-h", "-n", "host", "-O", "force-command=x", "a"],
    "cleared": ["-I", "id", "-O", "clear", "-O", "permit-pty", "a.pub"],
    "options": [
        *("-I", "id", "-O", "no-pty", "-O", "NO-x11-forwarding", "-O", "force-command=ls -l"),
        *("-O", "source-address=10.0.0.0/8,1.2.3.4", "-O", "verify-required"),
        *("-O", "no-touch-required", "-O", "extension:foo@x=bar", "-O", "critical:zed=1"),
        *("-O", "extension:flag", "a.pub"),
    ],
    "odd words": ["-I", 'we"ird\\ id', "-n", "x y,z\\", "a.pub"],
    "quiet": ["-q", "-I", "id", "a.pub"],
}
REFUSED = {
    "no key id": ["a.pub"],
    "no such file": ["-I", "id", "nofile.pub"],
    "serial": ["-I", "id", "-z", "x", "a.pub"],
    "negative serial": ["-I", "id", "-z", "-1", "a.pub"],
    "time": ["-I", "id", "-V", "foo", "a.pub"],
    "half a time": ["-I", "id", "-V", "20200101Z:", "a.pub"],
    "the other half": ["-I", "id", "-V", ":20300101", "a.pub"],
    "backwards": ["-I", "id", "-V", "20300101:20200101", "a.pub"],
    "option": ["-I", "id", "-O", "bogus", "a.pub"],
    "empty command": ["-I", "id", "-O", "force-command=", "a.pub"],
    "two commands": ["-I", "id", "-O", "force-command=a", "-O", "force-command=b", "a.pub"],
    "empty name": ["-I", "id", "-n", "a,,b", "a.pub"],
    "another algorithm": ["-I", "id", "-t", "bogus", "a.pub"],
}


@pytest.mark.parametrize("way", SIGNING)
def test_certificates_are_signed_in_the_same_words(twins: Twins, way: str) -> None:
    arguments = SIGNING[way]
    assert twins.same("-s", "ca", *arguments).status == 0
    made = [name for name in twins.files() if name.endswith("-cert.pub")]
    assert len(made) == sum(word.removesuffix(".pub") in KEYS for word in arguments)
    for name in made:
        # All but the nonce, and so the signature, is the same; and each shows the other's alike.
        ours, theirs = (load_certificate(data) for data in twins.files()[name])
        assert ours.is_signed()
        for field in ("key", "serial", "role", "key_id", "principals", "critical_options"):
            assert getattr(ours, field) == getattr(theirs, field)
        assert ours.extensions == theirs.extensions
        assert (twins.ours / name).stat().st_mode == (twins.theirs / name).stat().st_mode
        assert twins.same("-L", "-f", name).status == 0
        twins.share(name)
        assert twins.same("-L", "-E", "md5", "-f", name).status == 0
        assert twins.same("-l", "-v", "-f", name).status == 0
        assert twins.same("-B", "-f", name).status == 0
        assert twins.same("-e", "-f", name).status == 0


@pytest.mark.parametrize("way", REFUSED)
def test_what_cannot_be_signed_is_said_in_the_same_words(twins: Twins, way: str) -> None:
    assert twins.same("-s", "ca", *REFUSED[way]).status != 0
    assert not [name for name in twins.files() if name.endswith("-cert.pub")]


def test_a_certificate_for_a_key_without_a_comment_is_named_after_its_file(twins: Twins) -> None:
    for space in ("", " "):
        twins.put("nameless.pub", KEYS["a"].public.with_comment("").to_line() + space + "\n")
        twins.same("-s", "ca", "-I", "id", "nameless.pub")
        ours, theirs = (data.split(b" ", 2)[2] for data in twins.files()["nameless-cert.pub"])
        assert ours == theirs == b"nameless.pub\n"


def test_an_authority_of_rsa_signs_by_what_t_says(twins: Twins) -> None:
    for algorithm in ("rsa-sha2-256", "rsa-sha2-512", "ssh-rsa"):
        assert twins.same("-s", "r", "-t", algorithm, "-I", "id", "a.pub").status == 0
        made = load_certificate((twins.ours / "a-cert.pub").read_bytes())
        assert made.signature_algorithm == algorithm
        assert made.is_signed((algorithm,))
        # R047: SHA-1 only where somebody named it, and then nobody takes it by itself.
        assert made.is_signed() is (algorithm != "ssh-rsa")


def test_an_authority_with_a_passphrase(twins: Twins) -> None:
    twins.put("locked", KEYS["b"].to_openssh(b"secret", rounds=1), mode=0o600)
    assert twins.same("-s", "locked", "-P", "secret", "-I", "id", "a.pub").status == 0
    assert twins.same("-s", "locked", "-P", "wrong", "-I", "id", "a.pub").status == 255


def test_a_certificate_is_not_certified(twins: Twins) -> None:
    assert twins.run_ours("-q", "-s", "ca", "-I", "id", "a.pub").status == 0
    twins.share("a-cert.pub")
    assert twins.same("-s", "ca", "-I", "id", "a-cert.pub").status == 255


def test_files_of_several_lines_are_shown_alike(twins: Twins) -> None:
    assert twins.run_ours("-q", "-s", "ca", "-I", "id", "a.pub").status == 0
    text = (twins.ours / "a-cert.pub").read_text()
    twins.put("lines", f"# c\n{line('a')}\n{text}\nnonsense here\n  {text}")
    twins.put("none", f"{line('a')}\n")
    assert twins.same("-L", "-f", "lines").status == 0
    for ending in ("\n", "\n\n", "\n  ", "\n \n", "\r\n\r\n"):
        twins.put("ended", text.strip() + ending)
        assert twins.same("-L", "-f", "ended").status == 0
        assert twins.same("-L", "-f", "-", typed=text.strip() + ending).status == 0
    assert twins.same("-L", "-f", "a").status == 1
    assert twins.same("-L", "-f", "none").status == 1
    assert twins.same("-L", "-f", "nofile").status == 255


def test_source_addresses_must_be_blocks(twins: Twins) -> None:
    for word in ("foo", "10.0.0.1/8", "10.0.0.0/33", ""):
        for run in (twins.run_ours, twins.run_theirs):
            done = run("-s", "ca", "-I", "id", "-O", f"source-address={word}", "a.pub")
            assert done.status == 255
            assert "source-address" in done.err


def test_r036_words_in_a_certificate_cannot_steer_a_terminal(twins: Twins) -> None:
    made = Certificate.issue(
        KEYS["ca"], KEYS["a"].public, key_id="\x1b[2J", principals=["\x9b\n root"]
    )
    twins.put("evil", made.to_line() + "\n")
    said = twins.run_ours("-L", "-f", "evil").out
    assert "\x1b" not in said
    assert "\x9b" not in said
    assert "\\033[2J" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["-s", "ca", "-I", "id", "-V", "+1x", "a.pub"],
        ["-s", "ca", "-I", "id", "-V", "+1d:+2x", "a.pub"],
        ["-s", "ca", "-I", "id", "-V", "0xz:+1d", "a.pub"],
        ["-s", "ca", "-I", "id", "-z", "0x10", "a.pub"],
        ["-s", "ca", "-I", "id", "-z", "99999999999999999999", "a.pub"],
        ["-s", "ca.pub", "-I", "id", "a.pub"],
        ["-e", "-m", "PEM", "-f", "a"],
        ["-e", "-m", "PEM", "-f", "a-cert.pub"],
        ["-e", "-m", "PKCS8", "-f", "sk.pub"],
        ["-i", "-m", "PEM", "-f", "a.pub"],
        ["-i", "-m", "PKCS8", "-f", "ours"],
        ["-k", "-f", "krl", "-z", "0x10", "a.pub"],
        ["-F", "host", "-l", "-f", "nofile"],
    ],
    ids=range(13),
)
def test_other_refusals_are_those_of_openssh(twins: Twins, arguments: list[str]) -> None:
    twins.put("a-cert.pub", Certificate.issue(KEYS["ca"], KEYS["a"].public, key_id="x").to_line())
    twins.put("sk.pub", SoftwareAuthenticator().line + "\n")
    assert twins.same(*arguments).status == 255


def test_of_two_modes_the_same_is_done(twins: Twins) -> None:
    for letters in ("-AB", "-Al", "-yl", "-ly", "-lB", "-ye"):
        assert twins.same(letters, "-f", "a").status == 0


# Revocation lists


LISTS = {
    "serial": "serial: 5\nserial: 7-900\nserial: 0x10\nserial: 017\n",
    "id": "id: one\nID: another with blanks  # and a comment\n",
    "key": "key: {b}\n",
    "sha1": "sha1: {b}\n",
    "sha256": "sha256: {b}\n",
    "hash": "hash: {fingerprint}  # c\n",
    "plain": "# c\n\n{a}\n{b}\n",
    "certificate": "{certificate}\n",
    "key of a certificate": "key: {certificate}\n",
    "hash of a certificate": "sha256: {certificate}\n",
    "all of them": "serial: 1-18446744073709551615\nid: x\nkey: {b}\nsha1: {r}\n{certificate}\n",
}
BROKEN = ["serial: x", "serial: 5-4", "serial: 5-x", "serial: 18446744073709551616", "key: no",
          "hash: SHA256:x", "hash: MD5:aa", "nonsense", 'from="x" {a}']  # fmt: skip


def filled(twins: Twins, text: str) -> str:
    made = Certificate.issue(KEYS["ca"], KEYS["r"].public, key_id="r", serial=77, nonce=b"n" * 32)
    twins.put("r-cert.pub", made.to_line() + "\n")
    return text.format(
        a=line("a"),
        b=line("b"),
        r=line("r"),
        certificate=made.to_line(),
        fingerprint=KEYS["a"].public.fingerprint(),
    )


@pytest.mark.parametrize("name", LISTS)
def test_revocation_lists_are_the_same(twins: Twins, name: str) -> None:
    twins.put("words", filled(twins, LISTS[name]))
    made = twins.same("-k", "-f", "krl", "-s", "ca.pub", "-z", "9", "words")
    assert (made.status, made.out) == (0, "Revoking from words\n")
    ours, theirs = (RevocationList.parse(data) for data in twins.files()["krl"])
    assert (ours.version, theirs.version) == (9, 9)
    ours.generated = theirs.generated
    assert ours.to_bytes() == twins.files()["krl"][1]
    assert twins.same("-Q", "-l", "-f", "krl").status == 0
    asked = twins.same("-Q", "-f", "krl", "a.pub", "b.pub", "r.pub", "ca.pub", "r-cert.pub")
    assert asked.status == ("REVOKED" in asked.out)


@pytest.mark.parametrize("words", BROKEN)
def test_a_line_that_revokes_nothing_is_refused(twins: Twins, words: str) -> None:
    twins.put("words", filled(twins, words + "\n"))
    ours = twins.run_ours("-k", "-f", "krl", "-s", "ca.pub", "words")
    theirs = twins.run_theirs("-k", "-f", "krl", "-s", "ca.pub", "words")
    assert (ours.status, ours.err) == (theirs.status, theirs.err) == (255, ours.err)
    assert "krl" not in twins.files()


def test_a_list_is_added_to(twins: Twins) -> None:
    assert twins.same("-k", "-f", "krl", "-z", "3", "-C", "the comment", "a.pub").status == 0
    assert twins.same("-k", "-u", "-f", "krl", "b.pub").status == 0
    shown = twins.same("-Q", "-l", "-f", "krl", "a.pub", "b.pub", "r.pub")
    assert shown.status == 1
    assert "# KRL version 3\n" in shown.out
    assert "# Comment: the comment\n" in shown.out
    assert twins.same("-k", "-u", "-z", "4", "-f", "krl").status == 0
    assert "# KRL version 4\n" in twins.same("-Q", "-l", "-f", "krl").out


def test_what_lists_cannot_do_without(twins: Twins) -> None:
    twins.put("words", "serial: 4\n")
    assert twins.same("-k", "a.pub").status == 255
    assert twins.same("-k", "-u", "-f", "none", "a.pub").status == 255
    assert twins.same("-Q", "a.pub").status == 255
    assert twins.same("-Q", "-f", "nofile", "a.pub").status == 255
    assert twins.same("-Q", "-f", "a.pub", "a.pub").status == 255
    assert "specification of a CA key" in twins.run_ours("-k", "-f", "krl", "words").err
    assert twins.same("-k", "-q", "-f", "krl", "-s", "none", "words").status == 0
    assert "# Wildcard CA\n" in twins.same("-Q", "-l", "-f", "krl").out


# Signatures


@pytest.fixture
def signing(tmp_path: Path) -> Twins:
    return signing_twins(tmp_path)


def test_files_are_signed_and_checked_in_the_same_words(signing: Twins) -> None:
    assert signing.same("-Y", "sign", "-f", "a", "-n", "file", "msg").status == 0
    ours, theirs = signing.files()["msg.sig"]
    assert ours == theirs
    asked = signing.same("-Y", "sign", "-f", "a", "-n", "file", "msg", typed="n\n")
    assert "Overwrite (y/n)? " in asked.out
    hello = "hello\n"
    check = ("-Y", "check-novalidate", "-n", "file", "-s", "msg.sig")
    assert signing.same(*check, typed=hello).status == 0
    assert signing.same(*check, typed="other").status == 255
    assert signing.same("-q", *check, typed=hello).out == ""
    verify = ("-Y", "verify", "-f", "allowed", "-n", "file", "-s", "msg.sig")
    assert signing.same(*verify, "-I", "me", typed=hello).status == 0
    assert signing.same(*verify, "-I", "m@x", "-O", "print-pubkey", typed=hello).status == 0
    assert signing.same(*verify, "-I", "you", typed=hello).status == 255
    assert signing.same(*verify, "-I", "me", "-r", "b.pub", typed=hello).status == 0
    assert signing.same(*verify, "-I", "me", "-r", "a.pub", typed=hello).status == 255
    assert signing.same("-Y", "find-principals", "-f", "allowed", "-s", "msg.sig").status == 0
    assert signing.same("-Y", "match-principals", "-f", "allowed", "-I", "me").status == 0
    assert signing.same("-Y", "match-principals", "-f", "allowed", "-I", "no").status == 210


def test_case_306_a_list_of_revoked_keys_that_cannot_be_read_revokes_all(signing: Twins) -> None:
    assert signing.run_ours("-q", "-Y", "sign", "-f", "a", "-n", "file", "msg").status == 0
    signing.share("msg.sig")
    signing.put("empty", "")
    signing.put("junk", "no key\n")
    verify = ("-Y", "verify", "-f", "allowed", "-n", "file", "-s", "msg.sig", "-I", "me")
    for name in ("nofile", "empty", "junk"):
        done = signing.run_ours(*verify, "-r", name, typed="hello\n")
        assert (done.status, done.out) == (255, "Could not verify signature.\n")


def test_another_namespace_is_another_signature(signing: Twins) -> None:
    assert signing.same("-q", "-Y", "sign", "-f", "b", "-n", "git", "msg").status == 0
    verify = ("-Y", "verify", "-f", "allowed", "-s", "msg.sig", "-I", "you")
    assert signing.same(*verify, "-n", "git", typed="hello\n").status == 0
    assert signing.same(*verify, "-n", "file", typed="hello\n").status == 255


def test_standard_input_is_signed_to_standard_output(signing: Twins) -> None:
    for key in ("a", "r", "a.pub"):
        done = signing.same("-Y", "sign", "-f", key, "-n", "file", typed="hello\n")
        assert done.out.startswith("-----BEGIN SSH SIGNATURE-----\n")
        assert done.err == "Signing data on standard input\n"


def test_a_certificate_signs_and_its_authority_is_trusted(signing: Twins) -> None:
    assert signing.run_ours("-q", "-s", "ca", "-I", "x", "-n", "me", "a.pub").status == 0
    signing.share("a-cert.pub")
    signing.put("allowed", f"*e cert-authority {line('ca')}\n")
    assert signing.same("-Y", "sign", "-f", "a-cert.pub", "-n", "file", "msg").status == 0
    verify = ("-Y", "verify", "-f", "allowed", "-n", "file", "-s", "msg.sig", "-I")
    assert signing.same(*verify, "me", typed="hello\n").status == 0
    assert signing.same(*verify, "we", typed="hello\n").status == 255
    assert signing.same("-Y", "find-principals", "-f", "allowed", "-s", "msg.sig").out == "me\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["sign", "-f", "a", "msg"],
        ["sign", "-n", "file", "msg"],
        ["sign", "-f", "nofile", "-n", "file", "msg"],
        ["sign", "-f", "a", "-n", "file", "nofile"],
        ["sign", "-f", "a", "-n", "file", "-O", "foo=bar", "msg"],
        ["check-novalidate", "-s", "msg"],
        ["check-novalidate", "-n", "file"],
        ["check-novalidate", "-n", "file", "-s", "nofile"],
        ["verify", "-I", "x", "-n", "file", "-s", "msg"],
        ["verify", "-f", "allowed", "-n", "file", "-s", "msg"],
        ["verify", "-f", "a", "-n", "file", "-I", "me", "-s", "nofile"],
        ["find-principals", "-f", "allowed"],
        ["match-principals", "-f", "allowed"],
        ["match-principals", "-I", "me"],
    ],
    ids=range(14),
)
def test_what_signing_cannot_do_without(signing: Twins, arguments: list[str]) -> None:
    assert signing.same("-Y", *arguments).status != 0


def test_a_fault_inside_an_operation_is_not_taken_for_an_unknown_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def faulty(settings: object, files: list[str]) -> int:
        raise KeyError("of a fault")

    monkeypatch.setitem(keygen_sign._OPERATIONS, "sign", ((), faulty))
    with pytest.raises(KeyError, match="of a fault"):
        load("ssh-keygen").run(["-Y", "sign"])


def test_an_unknown_operation_shows_the_usage(signing: Twins) -> None:
    done = signing.run_ours("-Y", "bogus")
    assert done.status == 1
    assert done.err.startswith('Unsupported operation for -Y: "bogus"\nusage: ssh-keygen ')


# Hosts


def hosts() -> str:
    return (
        f"# comment\n\nhost,10.0.0.1 {line('a')} the comment\n[host]:2222 {line('r')}\n"
        f"*.example.org {line('b')}\n@cert-authority *.example.org {line('a')}\n"
        f"@revoked host {line('r')}\nHOST {line('b')}\n   spaced {line('a')}\n"
        f"damaged ssh-ed25519 AAAA\n!no,yes {line('a')}\nold ssh-dss AAAA words\n"
        f"one,two,,four {line('a')}\ttab  two \n@cert-authority plain {line('a')} \r\n"
        f"crlf {line('a')}\r\n"
    )


@pytest.mark.parametrize(
    "name",
    ["host", "HOST", "10.0.0.1", "[host]:2222", "a.example.org", "damaged", "two", "crlf", "none"],
)
def test_hosts_are_found_in_the_same_words(twins: Twins, name: str) -> None:
    twins.put("known", hosts())
    found = twins.same("-F", name, "-f", "known")
    assert found.status == (name == "none")
    assert twins.same("-q", "-F", name, "-f", "known").status == found.status
    unshown = name in {"none", "damaged"}
    assert twins.same("-l", "-v", "-F", name, "-f", "known").status == unshown
    assert twins.same("-l", "-E", "md5", "-F", name, "-f", "known").status == unshown
    ours, theirs = (
        HASHED.sub("H", run("-H", "-F", name, "-f", "known").out)
        for run in (twins.run_ours, twins.run_theirs)
    )
    assert ours == theirs


@pytest.mark.parametrize("name", ["host", "a.example.org", "damaged", "two", "crlf", "no one"])
def test_hosts_are_forgotten_and_the_old_file_kept(twins: Twins, name: str) -> None:
    twins.put("known", hosts(), mode=0o640)
    assert twins.same("-R", name, "-f", "known").status == 0
    for ours, theirs in twins.files().values():
        assert ours == theirs
    if name == "no one":
        assert "known.old" not in twins.files()
    else:
        assert (twins.ours / "known.old").read_bytes() == hosts().encode()
        assert "@revoked host" in (twins.ours / "known").read_text()


HASHED = re.compile(r"\|1\|\S+")


def test_names_are_hashed_and_hosts_are_found_all_the_same(twins: Twins) -> None:
    twins.put("known", hosts())
    assert twins.same("-H", "-f", "known").status == 0
    ours, theirs = (HASHED.sub("H", data.decode()) for data in twins.files()["known"])
    assert ours == theirs
    assert "10.0.0.1" not in ours
    twins.share("known")
    for name in ("host", "10.0.0.1", "[host]:2222", "spaced"):
        assert twins.same("-F", name, "-f", "known").status == 0
        assert twins.same("-l", "-F", name, "-f", "known").status == 0
    assert twins.same("-H", "-f", "known").status == 0
    assert twins.same("-R", "host", "-f", "known").status == 0
    assert twins.files()["known"][0] == twins.files()["known"][1]


NO_LINES = [
    "one",
    "host ssh-foo AAAA",
    "host ssh-ed25519",
    "host ssh-ed25519 # AAAA",
    "host SSH-ED25519 AAAA",
    "host 1024 35 1234567",
    "@foo host {a}",
    "@revoked",
    "@revoked @revoked host {a}",
]


@pytest.mark.parametrize("words", NO_LINES)
def test_a_file_with_a_line_that_is_none_is_left_alone(twins: Twins, words: str) -> None:
    text = f"{hosts()}{words.format(a=line('a'))}\nlast {line('a')}"
    twins.put("known", text)
    for arguments in (("-R", "host"), ("-q", "-R", "none"), ("-H",)):
        assert twins.same(*arguments, "-f", "known").status == 1
        assert "known.old" not in twins.files()
        assert (twins.ours / "known").read_bytes() == text.encode()


def test_a_hash_that_is_none_spoils_a_file_that_is_searched(twins: Twins) -> None:
    twins.put("known", f"{hosts()}|1|AAAA|BBBB {line('a')}\n")
    assert twins.same("-R", "host", "-f", "known").status == 1
    assert twins.same("-F", "host", "-f", "known").status == 0
    assert twins.same("-q", "-H", "-f", "known").status == 0
    assert twins.same("-F", "host", "-f", "nofile").status == 255


# Records


def test_records_of_host_keys(twins: Twins) -> None:
    for name in ("a.pub", "b.pub", "r.pub", "a"):
        assert twins.same("-r", "host", "-f", name).status == 0
        assert twins.same("-r", "host", "-g", "-f", name).status == 0
    assert twins.same("-r", "host", "-f", "nofile").status == 255
    # What no record can hold is no failure.
    twins.put("sk.pub", SoftwareAuthenticator().line + "\n")
    assert twins.same("-r", "host", "-f", "sk.pub").out == ""


# Moduli


def test_small_primes_are_all_of_them() -> None:
    found = small_primes(1000)
    assert found == [n for n in range(3, 1000) if all(n % d for d in range(2, n))]


def test_candidates_have_no_small_factor_and_every_safe_prime_is_among_them() -> None:
    first = 1 << 20
    found = []
    for q in candidates(first, limit=1 << 10):
        if q > first + 20000:
            break
        found.append(q)
    small = [2, *small_primes(1 << 10)]
    assert all(q % prime and (2 * q + 1) % prime for q in found for prime in small)

    def prime(number: int) -> bool:
        return all(number % divisor for divisor in range(2, int(number**0.5) + 1))

    safe = {q for q in range(first | 1, first + 20000, 2) if prime(q) and prime(2 * q + 1)}
    assert safe
    assert safe <= {*found}


def test_primes_are_told_from_others() -> None:
    below = random.Random(1).randrange
    primes = {2, *small_primes(2000)}
    assert {n for n in range(2000) if is_prime(n, rounds=20, below=below)} == primes
    # Carmichael's number, and a product of two primes.
    assert not is_prime(561, rounds=20, below=below)
    assert not is_prime((2**61 - 1) * (2**89 - 1), rounds=20, below=below)
    assert is_prime(2**521 - 1, rounds=2, below=below)


def test_generators() -> None:
    assert generator_of(11) == 2
    assert generator_of(23) == 5
    assert generator_of(5) == 0


def test_moduli_are_made_and_screened_by_either(twins: Twins) -> None:
    made = twins.run_ours("-M", "generate", "-O", "bits=512", "-O", "lines=1500", "candidates")
    assert made.status == 0, made.err
    rows = (twins.ours / "candidates").read_text().splitlines()
    assert len(rows) == 1500
    assert {tuple(row.split()[1:6]) for row in rows} == {("4", "2", "0", "510", "0")}
    twins.share("candidates")
    options = ("-O", "prime-tests=4", "-f", "candidates", "safe")
    assert twins.run_ours("-M", "screen", *options).status == 0
    assert twins.run_theirs("-M", "screen", *options).status == 0
    ours, theirs = (
        [row.split()[1:] for row in data.decode().splitlines()] for data in twins.files()["safe"]
    )
    assert ours == theirs
    twins.share("safe")
    again = twins.run_ours("-M", "screen", "-O", "generator=2", "-f", "safe", "two")
    assert again.status == 0
    rows = (twins.ours / "two").read_text().splitlines()
    assert len(rows) == sum(row[4] == "2" for row in ours)


def test_a_part_of_the_candidates_is_screened(twins: Twins) -> None:
    assert twins.run_ours("-M", "generate", "-O", "bits=512", "-O", "lines=40", "c").status == 0
    part = ("-O", "prime-tests=4", "-O", "start-line=11", "-O", "lines=10", "-f", "c", "out")
    said = twins.run_ours("-M", "screen", "-O", "checkpoint=place", *part)
    assert said.status == 0
    found = re.search(r"of (\d+) candidates", said.err)
    assert found is not None
    assert int(found[1]) <= 10
    assert "place" not in {path.name for path in twins.ours.iterdir()}


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate"],
        ["bogus", "out"],
        ["generate", "-O", "foo=x", "out"],
        ["generate", "-O", "bits=100000", "out"],
        ["generate", "-O", "bits=512", "-O", "start=zz", "out"],
        ["generate", "-O", "bits=512", "a", "b"],
        ["screen", "-f", "a.pub", "-O", "prime-tests=3", "out"],
        ["screen", "-f", "nofile", "out"],
        ["screen", "-f", "a.pub"],
    ],
    ids=range(9),
)
def test_what_moduli_cannot_be_made_of(twins: Twins, arguments: list[str]) -> None:
    ours, theirs = twins.run_ours("-M", *arguments), twins.run_theirs("-M", *arguments)
    assert ours.status == theirs.status == 255
    if "start=zz" not in arguments:
        assert ours.err == theirs.err


def test_flags_without_a_device_are_refused(twins: Twins) -> None:
    for flag, cause in (
        (["-K"], "Unable to load resident keys: "),
        (["-D", "lib.so"], "cannot read public key from pkcs11\n"),
    ):
        ours, theirs = twins.run_ours(*flag), twins.run_theirs(*flag)
        assert ours.status == theirs.status == 255
        assert cause in ours.err
        assert cause in theirs.err
