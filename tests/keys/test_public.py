# SPDX-License-Identifier: MIT
"""Public keys: what is read, what is refused, and how they look."""

import subprocess
import sys
import time

import pytest

from tellin.errors import KeyFileError, UsageError
from tellin.keys import PrivateKey, PublicKey, load_public_key, randomart
from tellin.keys.fingerprints import bubble_babble
from tellin.keys.kinds import NISTP256, NISTP384, NISTP521, Curve
from tellin.wire import mpint, string

LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH6lpR9btQtGwKLXEoZGYVYQAPoVfFT2LDR2yqfIsXqV a key"
POINT = bytes(range(32))


def ed25519(point: bytes) -> bytes:
    return string(b"ssh-ed25519") + string(point)


def rsa(n: int, e: int = 65537) -> bytes:
    return string(b"ssh-rsa") + mpint(e) + mpint(n)


def ecdsa(curve: Curve, point: bytes, *, name: bytes | None = None) -> bytes:
    name = curve.name.encode() if name is None else name
    return string(f"ecdsa-sha2-{curve.name}".encode()) + string(name) + string(point)


def test_a_line_is_read_and_written_as_it_stands() -> None:
    key = PublicKey.from_line(f"  {LINE}\r\n")
    assert (key.key_type, key.kind, key.bits, key.comment) == (
        "ssh-ed25519",
        "ED25519",
        256,
        "a key",
    )
    assert key.to_line() == LINE
    assert key.with_comment("").to_line() == LINE.removesuffix(" a key")
    assert load_public_key(LINE.encode()) == key
    assert PublicKey.from_blob(key.blob) == key
    assert hash(PublicKey.from_blob(key.blob, "other")) == hash(key)
    assert key != PublicKey.from_blob(ed25519(POINT))
    assert key != key.blob


def test_a_comment_that_is_no_utf_8_survives() -> None:
    key = load_public_key(LINE.encode() + b" \xe9\xff")
    assert key.to_line().encode("utf-8", "surrogateescape").endswith(b" a key \xe9\xff")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 ????",
        "ssh-ed25519 \u0416\u0416\u0416\u0416",
        LINE.replace("ssh-ed25519 ", "ssh-rsa "),
        LINE.replace("ssh-ed25519 ", "SSH-ED25519 "),
        LINE.replace("ssh-ed25519 ", ""),
        LINE.replace(" a key", "AAAA"),
        LINE.replace("qV a key", "q! a key"),
        "x " * 100_000,
    ],
)
def test_a_line_that_is_no_key_is_refused(line: str) -> None:
    with pytest.raises(KeyFileError):
        PublicKey.from_line(line)


P256 = PrivateKey.generate("ecdsa").public.blob[-65:]


@pytest.mark.parametrize(
    ("blob", "cause"),
    [
        pytest.param(b"", "without a type", id="empty"),
        pytest.param(b"\0\0\0", "without a type", id="half a length"),
        pytest.param(string(b"ssh-dss") + mpint(7) * 4, "unknown type", id="DSA"),
        pytest.param(string(b"\xff\xfe"), "unknown type", id="type not ASCII"),
        pytest.param(string(b"ssh-ed25519-cert-v01@openssh.com"), "unknown type", id="other"),
        # R075
        pytest.param(ed25519(POINT[:31]), "31 bytes", id="R075: 31 bytes"),
        pytest.param(ed25519(POINT + b"\0"), "33 bytes", id="R075: 33 bytes"),
        pytest.param(ed25519(b""), "0 bytes", id="R075: no point"),
        pytest.param(ed25519(POINT)[:-1], "damaged", id="truncated"),
        pytest.param(ed25519(POINT) + b"\0", "too many", id="trailing"),
        pytest.param(string(b"ssh-ed25519") + b"\xff" * 4 + POINT, "damaged", id="length lies"),
        # R074, case 138
        pytest.param(rsa(2**511 + 1), "too short", id="R074, case 138: RSA 512"),
        pytest.param(rsa(2**1022 + 1), "too short", id="R074, case 138: RSA 1023"),
        pytest.param(rsa(2**16384 + 1), "too long|integer of", id="R074, case 138: RSA 16385"),
        pytest.param(rsa(2**32767 + 1), "integer of", id="R074, case 138: RSA 32768"),
        pytest.param(rsa(2**2047), "even", id="R074, case 138: RSA even"),
        pytest.param(rsa(-(2**2047) + 1), "too short|too long", id="R074, case 138: RSA negative"),
        pytest.param(rsa(0), "too short", id="R074, case 138: RSA zero"),
        pytest.param(rsa(2**2047 + 1, e=1), "exponent", id="R074, case 138: RSA e 1"),
        pytest.param(rsa(2**2047 + 1, e=0), "exponent", id="R074, case 138: RSA e 0"),
        pytest.param(rsa(2**2047 + 1, e=-3), "exponent", id="R074, case 138: RSA e negative"),
        pytest.param(rsa(2**2047 + 1, e=65536), "exponent", id="R074, case 138: RSA e even"),
        pytest.param(rsa(2**2047 + 1, e=2**24 + 1), "exponent", id="R074, case 138: RSA e long"),
        pytest.param(rsa(2**2047 + 1) + b"\0", "too many", id="RSA trailing"),
        # Case 282
        pytest.param(ecdsa(NISTP256, P256, name=b"nistp384"), "another curve", id="curve"),
        pytest.param(ecdsa(NISTP384, P256), "no point", id="P-256 point on P-384"),
        pytest.param(ecdsa(NISTP256, P256[:-1]), "no point", id="short point"),
        pytest.param(ecdsa(NISTP256, P256 + b"\0"), "no point", id="long point"),
        pytest.param(
            ecdsa(NISTP256, b"\2" + P256[1:33]), "no point", id="compressed (RFC 5656 3.1)"
        ),
        pytest.param(ecdsa(NISTP256, b"\0"), "no point", id="infinity"),
        pytest.param(ecdsa(NISTP256, b""), "no point", id="empty point"),
        pytest.param(
            ecdsa(NISTP256, P256[:-1] + bytes([P256[-1] ^ 1])), "no point", id="off the curve"
        ),
        pytest.param(
            ecdsa(NISTP521, b"\4" + (NISTP521.prime).to_bytes(66, "big") + bytes(66)),
            "no point",
            id="coordinate of the prime itself",
        ),
    ],
)
def test_a_damaged_or_dangerous_blob_is_refused_with_its_cause(blob: bytes, cause: str) -> None:
    start = time.process_time()
    with pytest.raises(KeyFileError, match=cause):
        PublicKey.from_blob(blob)
    assert time.process_time() - start < 1


def test_rsa_of_the_largest_size_is_read_and_checked_in_time() -> None:
    key = PublicKey.from_blob(rsa(2**16383 + 1))
    assert key.bits == 16384
    start = time.process_time()
    blob = string(b"rsa-sha2-512") + string(b"\x01" * 2048)
    assert not key.verify(b"data", blob, algorithm="rsa-sha2-512")
    assert time.process_time() - start < 1


def test_fingerprints_look_as_those_of_openssh() -> None:
    key = PublicKey.from_line(LINE)
    # ssh-keygen -l, -l -E md5, -B of OpenSSH 9.2.
    assert key.fingerprint() == "SHA256:OdPjADrQOOPkP/MhG4vyze2hvcxZCO/aJmK8ymlXuvw"
    assert key.fingerprint("md5") == "MD5:cf:12:19:d5:ee:f7:12:d5:02:c7:09:e4:be:12:c8:72"
    assert key.bubble_babble() == (
        "xihok-tamil-gabor-rygif-bybol-burum-nekef-mobym-kugek-kudeg-cixux"
    )
    with pytest.raises(UsageError, match="crc32"):
        key.fingerprint("crc32")
    assert repr(key) == f"<PublicKey ED25519 {key.fingerprint()}>"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        # The three examples of the definition.
        (b"", "xexax"),
        (b"1234567890", "xesef-disof-gytuf-katof-movif-baxux"),
        (b"Pineapple", "xigak-nyryk-humil-bosek-sonax"),
    ],
)
def test_bubble_babble_is_that_of_its_definition(raw: bytes, words: str) -> None:
    assert bubble_babble(raw) == words


def test_randomart_is_that_of_openssh() -> None:
    assert (
        randomart(PublicKey.from_line(LINE))
        == """\
+--[ED25519 256]--+
|                 |
|   o             |
|  * . .          |
| + + . . o       |
|  o +   S o      |
|   . = . = .     |
| .  O = . .      |
|o.**.^.=         |
|oB==XE%.         |
+----[SHA256]-----+"""
    )
    assert (
        randomart(PublicKey.from_line(LINE), "md5")
        == """\
+--[ED25519 256]--+
|          .ooo . |
|         . .o +  |
|        .  ..o  .|
|       . + .. . o|
|      . E ...  o |
|       o + ...o  |
|        . + .. o |
|         . .  . .|
|               . |
+------[MD5]------+"""
    )


def test_reading_public_keys_loads_no_cryptography() -> None:
    # A known_hosts file holds keys of all kinds; a login with one kind must not pay for the others.
    keys = [
        PrivateKey.generate("ed25519"),
        PrivateKey.generate("ecdsa", bits=521),
        PrivateKey.generate("rsa", bits=2048),
    ]
    code = """
import sys
from tellin.keys import PublicKey, load_private_key
for line in sys.argv[2:]:
    PublicKey.from_line(line)
print(any(name.partition(".")[0] in {"cryptography", "bcrypt"} for name in sys.modules))
key = load_private_key(sys.argv[1].encode())
assert key.public.verify(b"x", key.sign(b"x"), algorithm="ssh-ed25519")
heavy = {"rsa", "ec", "serialization", "padding", "ciphers", "bcrypt", "asyncio"}
print(sorted(heavy & {name.rpartition(".")[2] for name in sys.modules}))
"""
    arguments = [keys[0].to_openssh().decode(), *(key.public.to_line() for key in keys)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n[]\n"


def test_r122_a_thousand_keys_are_a_thousand() -> None:
    for kind, count in (("ed25519", 1000), ("ecdsa", 200)):
        made = {PrivateKey.generate(kind).public.blob for _ in range(count)}
        assert len(made) == count


@pytest.mark.parametrize("space", ["\u00a0", "\u2003", "\x0b", "\x0c", "\x1c", "\x85", "\u3000"])
def test_r108_a_line_is_parted_by_spaces_and_tabs_alone(space: str) -> None:
    key = PrivateKey.generate("ed25519").public
    words = key.to_line().split(" ")
    for line in (space.join(words), f"{space}{key.to_line()}", f"{key.to_line()}{space}"):
        with pytest.raises(KeyFileError):
            PublicKey.from_line(line)
        with pytest.raises(KeyFileError):
            load_public_key(line)
    # In a comment it is what somebody wrote.
    named = f"\t{key.to_line()} \t me{space}here \r\n"
    assert PublicKey.from_line(named) == key
    assert PublicKey.from_line(named).comment == f"me{space}here"


def test_the_key_of_a_file_is_its_first_and_its_comment_ends_with_its_line() -> None:
    """As OpenSSH reads it; a comment that went on would be a line of its own where it is written."""
    first, second = (PrivateKey.generate("ed25519", comment=name).public for name in "ab")
    text = f"# two keys\n\n \tno key\n  {first.to_line()}\r\n{second.to_line()}\n"
    for found in (load_public_key(text), load_public_key(text.encode())):
        assert (found, found.comment) == (first, "a")
    assert load_public_key(first.with_comment("").to_line() + "\n\n").comment == ""
    with pytest.raises(KeyFileError, match="several lines"):
        PublicKey.from_line(f"{first.to_line()}\n{second.to_line()}")
    with pytest.raises(KeyFileError, match="not a public key"):
        load_public_key("# nothing\n")
    with pytest.raises(KeyFileError, match="unknown type"):
        load_public_key("ssh-x AAAABXNzaC14\nssh-ed25519 x\n")
