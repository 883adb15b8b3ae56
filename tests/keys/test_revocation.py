# SPDX-License-Identifier: MIT
"""Revocation lists: who is on one, what a broken one means, and the same bytes as ssh-keygen's."""

import itertools
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tellin.algorithms.hashing import digest
from tellin.errors import KeyFileError, UsageError
from tellin.keys import PrivateKey, PublicKey
from tellin.keys.certificates import Certificate, CertificateRole
from tellin.keys.revocation import MAGIC, MOST_BYTES, RevocationList, load_revocations
from tellin.keys.serials import BITMAP_BITS, Serials
from tellin.wire import mpint, string

AUTHORITY = PrivateKey.generate("ed25519")
OTHER_AUTHORITY = PrivateKey.generate("ed25519")
KEYS = [PrivateKey.generate("ed25519"), PrivateKey.generate("ecdsa"), PrivateKey.generate("ecdsa")]
RSA = PrivateKey.generate("rsa", bits=2048)


def certificate(
    serial: int = 0,
    *,
    key_id: str = "somebody",
    authority: PrivateKey = AUTHORITY,
    number: int = 0,
) -> Certificate:
    return Certificate.issue(
        authority, KEYS[number].public, key_id=key_id, serial=serial, principals=["me"]
    )


def read_again(made: RevocationList) -> RevocationList:
    return RevocationList.parse(made.to_bytes())


# Who is on it


@pytest.mark.parametrize("way", ["in full", "sha1", "sha256"])
def test_a_key_is_revoked_in_three_ways(way: str) -> None:
    made = RevocationList()
    revoked, other = KEYS[0].public, KEYS[1].public
    if way == "in full":
        made.add_key(revoked)
    else:
        made.add_fingerprint(way, digest(way, revoked.blob))
    for found in (made, read_again(made)):
        assert found.revokes(revoked)
        assert not found.revokes(other)


def test_r104_case_298_a_certificate_falls_with_its_key_and_its_authority() -> None:
    for revoked in (KEYS[0].public, AUTHORITY.public):
        made = RevocationList()
        made.add_key(revoked)
        assert read_again(made).revokes(certificate(5))
    made = RevocationList()
    made.add_key(KEYS[1].public)
    made.add_key(OTHER_AUTHORITY.public)
    assert not made.revokes(certificate(5))


def test_case_298_by_serial_number() -> None:
    made = RevocationList()
    made.add_serials(5, authority=AUTHORITY.public)
    made.add_serials(10, 20, authority=AUTHORITY.public)
    for found in (made, read_again(made)):
        revoked = [serial for serial in range(1, 25) if found.revokes(certificate(serial))]
        assert revoked == [5, *range(10, 21)]
        assert not found.revokes(certificate(5, authority=OTHER_AUTHORITY))
        assert not found.revokes(KEYS[0].public)


def test_a_serial_of_zero_is_no_number() -> None:
    made = RevocationList()
    # Only a file can say so.
    made._section(AUTHORITY.public).serials.add(0, 5)
    found = read_again(made)
    assert not found.revokes(certificate(0))
    assert found.revokes(certificate(1))


def test_case_298_by_key_id() -> None:
    made = RevocationList()
    made.add_key_id("lost laptop", authority=AUTHORITY.public)
    for found in (made, read_again(made)):
        assert found.revokes(certificate(0, key_id="lost laptop"))
        assert found.revokes(certificate(9, key_id="lost laptop"))
        assert not found.revokes(certificate(0, key_id="lost"))
        assert not found.revokes(certificate(key_id="lost laptop", authority=OTHER_AUTHORITY))


def test_without_an_authority_everybodys_are_meant() -> None:
    made = RevocationList()
    made.add_serials(5)
    made.add_key_id("gone")
    found = read_again(made)
    for authority in (AUTHORITY, OTHER_AUTHORITY):
        assert found.revokes(certificate(5, authority=authority))
        assert found.revokes(certificate(6, key_id="gone", authority=authority))
        assert not found.revokes(certificate(6, authority=authority))


def test_the_plain_way_is_ssh_keygen_s() -> None:
    made = RevocationList()
    for one in (KEYS[0].public, certificate(7, number=1), certificate(0, key_id="x", number=1)):
        made.add(one)
    assert made.keys == {KEYS[0].public.blob}
    section = made.certificates[AUTHORITY.public.blob]
    assert section.serials.ranges() == [(7, 7)]
    assert section.key_ids == {"x"}


def test_the_head_goes_through_the_file() -> None:
    made = RevocationList(version=77, generated=1_700_000_000, comment="für alle")
    found = read_again(made)
    assert (found.version, found.generated, found.comment) == (77, 1_700_000_000, "für alle")
    assert found.signers == ()


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 5), (5, 4), (1, 1 << 64), (-1, 1)])
def test_numbers_that_are_none_are_refused(low: int, high: int) -> None:
    with pytest.raises(UsageError):
        RevocationList().add_serials(low, high)


@pytest.mark.parametrize(("name", "size"), [("sha256", 20), ("sha1", 32), ("md5", 16)])
def test_hashes_of_another_length_are_refused(name: str, size: int) -> None:
    with pytest.raises(UsageError):
        RevocationList().add_fingerprint(name, bytes(size))


# Signed lists


def test_a_signed_list_says_who_signed_it() -> None:
    made = RevocationList(comment="x")
    made.add(KEYS[0].public)
    data = made.to_bytes([AUTHORITY, RSA])
    found = RevocationList.parse(data)
    assert found.signers == (AUTHORITY.public, RSA.public)
    assert found.revokes(KEYS[0].public)
    assert made.to_bytes() == data[: len(made.to_bytes())]


def test_case_305_a_wrong_signature_or_something_behind_it() -> None:
    made = RevocationList()
    made.add(KEYS[0].public)
    plain, data = made.to_bytes(), made.to_bytes([AUTHORITY])
    for at in range(len(plain), len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(KeyFileError):
            RevocationList.parse(bytes(changed))
    changed = bytearray(data)
    changed[15] ^= 1  # the list's number
    with pytest.raises(KeyFileError, match="wrong signature"):
        RevocationList.parse(bytes(changed))
    section = plain[len(RevocationList().to_bytes()) :]
    with pytest.raises(KeyFileError, match="behind its signatures"):
        RevocationList.parse(data + section)


# What is refused


def file_with(kind: int, body: bytes) -> bytes:
    return RevocationList().to_bytes() + bytes((kind,)) + string(body)


def certificates_with(kind: int, body: bytes) -> bytes:
    inner = string(AUTHORITY.public.blob) + string(b"") + bytes((kind,)) + string(body)
    return file_with(1, inner)


def u64(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "big") for number in numbers)


def test_r116_case_301_every_prefix_and_what_is_behind() -> None:
    made = RevocationList()
    made.add(KEYS[0].public)
    made.add_serials(1, 3, authority=AUTHORITY.public)
    made.add_key_id("x", authority=AUTHORITY.public)
    data = made.to_bytes()
    whole = {len(RevocationList().to_bytes())}
    whole |= {len(data) - 9 - len(KEYS[0].public.blob)}
    for size in range(len(data)):
        if size in whole:
            continue  # between two sections: a shorter list
        with pytest.raises(KeyFileError):
            RevocationList.parse(data[:size])
    with pytest.raises(KeyFileError):
        RevocationList.parse(data + b"\0")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="case 305, empty"),
        pytest.param(b"SSHKRL\n\1" + bytes(100), id="case 301, magic"),
        pytest.param(MAGIC + bytes((0, 0, 0, 2)) + bytes(32), id="case 301, version"),
        pytest.param(file_with(0, b""), id="case 302, section 0"),
        pytest.param(file_with(6, b""), id="case 302, section 6"),
        pytest.param(certificates_with(0x24, b""), id="case 302, subsection"),
        pytest.param(file_with(255, string(b"x") + b"\1" + string(b"")), id="case 302, critical"),
        pytest.param(
            certificates_with(0x39, string(b"x") + b"\1" + string(b"")),
            id="case 302, critical of certificates",
        ),
        pytest.param(file_with(255, string(b"x")), id="case 302, a short extension"),
        pytest.param(certificates_with(0x20, u64(1) + b"\0"), id="case 303, half a number"),
        pytest.param(certificates_with(0x21, u64(5, 4)), id="case 303, low above high"),
        pytest.param(certificates_with(0x21, u64(5)), id="case 303, half a range"),
        pytest.param(certificates_with(0x21, u64(1, 2, 3)), id="case 303, behind a range"),
        pytest.param(
            certificates_with(0x22, u64((1 << 64) - 8) + mpint(1 << 8)), id="case 303, wraps"
        ),
        pytest.param(certificates_with(0x22, u64(1) + mpint(-5)), id="case 303, negative"),
        pytest.param(
            certificates_with(0x22, u64(1) + string(b"\x01" * 5000)), id="case 303, long bitmap"
        ),
        pytest.param(certificates_with(0x23, string(b"a\0b")), id="a NUL"),
        pytest.param(certificates_with(0x23, b"\0\0\0\5abc"), id="a short key id"),
        pytest.param(file_with(1, string(b"no key") + string(b"")), id="no authority"),
        pytest.param(
            file_with(1, string(certificate().blob) + string(b"")), id="R102, a certificate"
        ),
        pytest.param(file_with(3, string(bytes(32))), id="a long hash"),
        pytest.param(file_with(5, string(bytes(20))), id="a short hash"),
        pytest.param(file_with(2, b"\xff\xff\xff\xff"), id="a key that is not there"),
    ],
)
def test_cases_301_to_303_a_list_that_is_not_understood_is_refused(data: bytes) -> None:
    with pytest.raises(KeyFileError):
        RevocationList.parse(data)
    with pytest.raises(KeyFileError, match=r"^/etc/revoked: "):
        load_revocations(data, name="/etc/revoked")


def test_extensions_that_nobody_needs_are_passed_over() -> None:
    extension = string(b"x@example.org") + b"\0" + string(b"whatever")
    assert RevocationList.parse(file_with(255, extension)).to_bytes()
    assert RevocationList.parse(certificates_with(0x39, extension)).certificates


def test_case_303_the_widest_range_costs_nothing() -> None:
    data = certificates_with(0x21, u64(0, (1 << 64) - 1)) * 1
    found = RevocationList.parse(data)
    assert found.revokes(certificate(1))
    assert found.revokes(certificate((1 << 64) - 1))
    assert found.certificates[AUTHORITY.public.blob].serials.ranges() == [(0, (1 << 64) - 1)]


def test_case_303_numbers_may_come_in_any_order() -> None:
    data = certificates_with(0x20, u64(9, 3, 4, 9, 5, 1))
    section = RevocationList.parse(data).certificates[AUTHORITY.public.blob]
    assert section.serials.ranges() == [(1, 1), (3, 5), (9, 9)]


def test_a_file_that_is_too_large_is_not_read() -> None:
    with pytest.raises(KeyFileError, match="too many"):
        RevocationList.parse(MAGIC + bytes(MOST_BYTES))
    with pytest.raises(KeyFileError, match="too many"):
        load_revocations(b"#" * (MOST_BYTES + 1))


# Lines


def test_a_text_of_keys_is_a_list_too() -> None:
    text = (
        f"# gone\n\n  {KEYS[0].public.to_line()} a comment\r\n"
        f"{certificate(number=1).to_line()}\n{AUTHORITY.public.to_line()}"
    )
    found = load_revocations(text.encode())
    assert found.revokes(KEYS[0].public)
    assert found.revokes(KEYS[1].public)
    assert not found.revokes(KEYS[2].public)
    assert found.revokes(certificate(1, number=2))
    assert not found.revokes(certificate(1, number=2, authority=OTHER_AUTHORITY))
    assert not load_revocations(b"# nobody\n").revokes(KEYS[0].public)


@pytest.mark.parametrize(
    "line", ["no key", "ssh-ed25519 AAAA", "ssh-ed25519-cert-v01@openssh.com x"]
)
def test_case_301_a_line_that_is_not_understood_is_named(line: str) -> None:
    text = f"{KEYS[0].public.to_line()}\n{line}\n"
    with pytest.raises(KeyFileError, match=r"^revoked: line 2: "):
        load_revocations(text.encode(), name="revoked")


# Serial numbers


@pytest.mark.parametrize("seed", range(20))
def test_a_set_of_numbers_is_what_was_put_in(seed: int) -> None:
    source = random.Random(seed)
    made, expected = Serials(), set()
    assert not made
    for _ in range(source.randrange(1, 60)):
        low = source.randrange(1, 200)
        high = low + source.randrange(0, 8)
        made.add(low, high)
        expected |= {*range(low, high + 1)}
        if source.randrange(4) == 0:
            assert (low in made) is True
    assert made
    assert {number for number in range(250) if number in made} == expected
    ranges = made.ranges()
    assert all(one[1] + 1 < other[0] for one, other in itertools.pairwise(ranges))


def test_ranges_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tellin.keys.serials.MOST_RANGES", 100)
    made = Serials()
    for number in range(100):
        made.add(2 * number + 1, 2 * number + 1)
    with pytest.raises(KeyFileError, match="more than 100 ranges"):
        made.add(1000, 1001)


def random_list(seed: int) -> tuple[RevocationList, str]:
    """A list, and the words by which ssh-keygen makes the same."""
    source = random.Random(seed)
    made, lines, at = RevocationList(), [], source.randrange(1, 5)
    step = source.choice([3, 10, 60, 200, 1000, 10**6, 2**40])
    for _ in range(source.choice([1, 2, 3, 5, 20, 100])):
        at += source.randrange(1, step)
        count = source.choice([1, 1, 1, 2, 3, 10, 100, 5000])
        made.add_serials(at, at + count - 1, authority=AUTHORITY.public)
        lines.append(f"serial: {at}" if count == 1 else f"serial: {at}-{at + count - 1}")
        at += count
    return made, "\n".join(lines)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_written_is_read(seed: int) -> None:
    made, _ = random_list(seed)
    found = read_again(made)
    assert found.to_bytes() == made.to_bytes()
    blob = AUTHORITY.public.blob
    assert found.certificates[blob].serials.ranges() == made.certificates[blob].serials.ranges()


def test_a_bitmap_is_never_longer_than_can_be_read() -> None:
    made = RevocationList()
    for number in range(1, 3 * BITMAP_BITS, 2):
        made.add_serials(number, authority=AUTHORITY.public)
    assert len(made.to_bytes()) < BITMAP_BITS
    assert read_again(made).to_bytes() == made.to_bytes()


# ssh-keygen


def keygen(*arguments: Any) -> tuple[int, str]:
    done = subprocess.run(
        ["ssh-keygen", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "ca.pub").write_text(AUTHORITY.public.to_line() + "\n")
    for number, key in enumerate(KEYS):
        (tmp_path / f"{number}.pub").write_text(key.public.to_line() + "\n")
    return tmp_path


@pytest.mark.peer("ssh-keygen")
@pytest.mark.parametrize("seed", range(12))
def test_the_bytes_are_those_of_ssh_keygen(place: Path, seed: int) -> None:
    made, text = random_list(seed)
    (place / "words").write_text(text + "\n")
    arguments = ("-f", place / "krl", "-s", place / "ca.pub", place / "words")
    status, said = keygen("-k", *arguments)
    assert status == 0, said
    theirs = (place / "krl").read_bytes()
    made.generated = RevocationList.parse(theirs).generated
    assert made.to_bytes() == theirs


@pytest.mark.peer("ssh-keygen")
def test_a_list_with_everything_is_the_same_from_both(place: Path) -> None:
    words = [
        "serial: 1",
        "serial: 5-900",
        "id: one more",
        "id: another",
        f"key: {KEYS[1].public.to_line()}",
        f"sha1: {RSA.public.to_line()}",
        f"sha256: {KEYS[2].public.to_line()}",
        KEYS[0].public.to_line(),
    ]
    (place / "words").write_text("\n".join(words) + "\n")
    made = RevocationList(version=77)
    made.add_serials(1, authority=AUTHORITY.public)
    made.add_serials(5, 900, authority=AUTHORITY.public)
    made.add_key_id("one more", authority=AUTHORITY.public)
    made.add_key_id("another", authority=AUTHORITY.public)
    made.add_key(KEYS[1].public)
    made.add_fingerprint("sha1", digest("sha1", RSA.public.blob))
    made.add_fingerprint("sha256", digest("sha256", KEYS[2].public.blob))
    made.add(KEYS[0].public)
    status, said = keygen(
        *("-k", "-z", "77", "-f", place / "krl", "-s", place / "ca.pub", place / "words")
    )
    assert status == 0, said
    theirs = (place / "krl").read_bytes()
    found = RevocationList.parse(theirs)
    made.generated = found.generated
    assert made.to_bytes() == found.to_bytes() == theirs


@pytest.mark.peer("ssh-keygen")
@pytest.mark.parametrize("signed", [False, True])
def test_ssh_keygen_says_of_our_lists_what_we_say(place: Path, signed: bool) -> None:
    made = RevocationList()
    made.add_key(KEYS[0].public)
    made.add_serials(3, 4, authority=AUTHORITY.public)
    made.add_serials(11)
    made.add_key_id("gone", authority=AUTHORITY.public)
    made.add_fingerprint("sha1", digest("sha1", KEYS[2].public.blob))
    (place / "krl").write_bytes(made.to_bytes([AUTHORITY] if signed else []))
    shown: list[PublicKey | Certificate] = [key.public for key in KEYS]
    shown += [AUTHORITY.public, *(certificate(serial, number=1) for serial in (2, 3, 4, 5, 11))]
    shown += [certificate(9, number=1, key_id="gone"), certificate(1, number=2)]
    shown += [certificate(11, number=1, authority=OTHER_AUTHORITY)]
    verdicts = []
    for number, one in enumerate(shown):
        (place / f"shown{number}.pub").write_text(one.to_line() + "\n")
        status, said = keygen("-Q", "-f", place / "krl", place / f"shown{number}.pub")
        if signed and "signature" in said:
            pytest.skip("this OpenSSH reads no signed lists any more")
        verdicts.append(status == 1)
        assert status in {0, 1}, said
    assert verdicts == [made.revokes(one) for one in shown]
    assert True in verdicts
    assert False in verdicts


def test_hosts_are_revoked_alike() -> None:
    made = RevocationList()
    made.add_serials(4, authority=AUTHORITY.public)
    host = Certificate.issue(
        AUTHORITY,
        KEYS[0].public,
        key_id="host",
        serial=4,
        role=CertificateRole.HOST,
        principals=["*"],
    )
    assert made.revokes(host)


@pytest.mark.parametrize("line", ["\x0b", "\x1c\x1d", "\u2003", "\x0bssh-ed25519 AAAA"])
def test_r108_what_unicode_alone_calls_a_space_is_no_empty_line(line: str) -> None:
    with pytest.raises(KeyFileError, match="line 1"):
        load_revocations(line.encode())
