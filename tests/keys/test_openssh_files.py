# SPDX-License-Identifier: MIT
"""openssh-key-v1 files: written and read back, and everything that must be refused (cases 277-282)."""

import binascii
import time

import pytest

from tellin.errors import KeyFileError, UsageError, WrongPassphrase
from tellin.keys import PrivateKey, load_private_key, load_public_key
from tellin.keys.encryption import FILE_CIPHERS, stretch
from tellin.keys.kinds import KINDS, NISTP256
from tellin.wire import Cursor, mpint, string

MAGIC = b"openssh-key-v1\0"
CHECK = b"\1\2\3\4"
KEY = PrivateKey.generate("ed25519", comment="me@here")
RSA = PrivateKey.generate("rsa", bits=2048)
ECDSA = PrivateKey.generate("ecdsa")


def armour(raw: bytes, width: int = 70) -> bytes:
    encoded = binascii.b2a_base64(raw, newline=False)
    lines = [encoded[at : at + width] for at in range(0, len(encoded), width)]
    return b"\n".join(
        [
            b"-----BEGIN OPENSSH PRIVATE KEY-----",
            *lines,
            b"-----END OPENSSH PRIVATE KEY-----",
            b"",
        ]
    )


def unarmour(data: bytes) -> bytes:
    return binascii.a2b_base64(b"".join(data.splitlines()[1:-1]))


def padded(private: bytes, block: int = 8) -> bytes:
    return private + bytes(range(1, 1 + -len(private) % block))


def container(
    private: bytes,
    *,
    public: bytes = KEY.public.blob,
    magic: bytes = MAGIC,
    cipher: bytes = b"none",
    derivation: bytes = b"none",
    options: bytes = b"",
    count: int = 1,
    behind: bytes = b"",
) -> bytes:
    return armour(
        magic
        + string(cipher)
        + string(derivation)
        + string(options)
        + count.to_bytes(4, "big")
        + string(public)
        + string(private)
        + behind
    )


def private_part(fields: bytes, comment: bytes = b"", check: bytes = CHECK + CHECK) -> bytes:
    return padded(check + fields + string(comment))


GOOD = private_part(KEY.encode(), b"me@here")


def load(data: bytes, passphrase: bytes | None = None) -> PrivateKey:
    return load_private_key(data, passphrase, name="id_test")


@pytest.mark.parametrize("key", [KEY, ECDSA, RSA], ids=lambda key: key.public.kind)
def test_a_key_comes_back_with_its_comment(key: PrivateKey) -> None:
    data = key.with_comment("a comment \udce9").to_openssh()
    again = load(data)
    assert again.public == key.public
    assert again.comment == "a comment \udce9"
    assert again.encode() == key.encode()
    assert load_public_key(data) == key.public
    assert data.endswith(b"\n")
    assert max(map(len, data.splitlines())) == 70


@pytest.mark.parametrize("cipher", list(FILE_CIPHERS))
def test_case_279_an_encrypted_key_opens_with_its_passphrase_alone(cipher: str) -> None:
    # Case 279.
    data = KEY.to_openssh(b"right", cipher=cipher, rounds=1)
    assert load(data, b"right").encode() == KEY.encode()
    assert load(data, b"right").comment == "me@here"
    # The public half is readable without the passphrase.
    assert load_public_key(data) == KEY.public
    with pytest.raises(WrongPassphrase, match=r"^id_test: incorrect passphrase supplied"):
        load(data, b"wrong")
    for nothing in (None, b""):
        with pytest.raises(WrongPassphrase, match=r"^id_test: a passphrase is needed"):
            load(data, nothing)


def test_what_is_written_never_repeats() -> None:
    # Salt and check number are new each time, so equal keys cannot be told from their files.
    assert len({KEY.to_openssh() for _ in range(20)}) == 20
    assert len({KEY.to_openssh(b"x", rounds=1) for _ in range(20)}) == 20
    drawn = KEY.to_openssh(random=bytes)
    assert drawn == KEY.to_openssh(random=bytes)
    assert load(drawn).public == KEY.public


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(UsageError, match="rot13"):
        KEY.to_openssh(b"x", cipher="rot13")
    with pytest.raises(UsageError, match="round"):
        KEY.to_openssh(b"x", rounds=0)
    with pytest.raises(UsageError, match="NUL"):
        KEY.with_comment("a\0b").to_openssh()
    for passphrase, salt, rounds in ((b"", b"s", 1), (b"p", b"", 1), (b"p", b"s", 0)):
        with pytest.raises(UsageError):
            stretch(passphrase, salt, rounds, 32)


# --- armour (case 277) ---------------------------------------------------------------------------

PLAIN = KEY.to_openssh()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(PLAIN.replace(b"\n", b"\r\n"), id="CR LF"),
        pytest.param(PLAIN.rstrip(), id="no last line end"),
        pytest.param(PLAIN + b"words behind", id="words behind"),
        pytest.param(PLAIN + RSA.to_openssh(), id="two blocks, the first counts"),
        pytest.param(armour(unarmour(PLAIN), width=1000), id="one long line"),
        pytest.param(armour(unarmour(PLAIN), width=3), id="short lines"),
        pytest.param(PLAIN.replace(b"\n", b"\n\n", 1), id="blank line"),
    ],
)
def test_an_armour_with_harmless_oddities_is_read(data: bytes) -> None:
    assert load(data).public == KEY.public


BEGIN, REST = PLAIN.split(b"\n", 1)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        pytest.param(b"", "not a private key", id="empty"),
        pytest.param(b"\0" * 100, "not a private key", id="zeros"),
        pytest.param(KEY.public.to_line().encode(), "not a private key", id="public"),
        pytest.param(BEGIN, "without its end", id="begin alone"),
        pytest.param(PLAIN.replace(b"END", b"FIN"), "without its end", id="no end"),
        pytest.param(PLAIN.replace(b"\n-----END", b"-----END"), "without its end", id="glued"),
        pytest.param(BEGIN + b"x\n" + REST, "without its end", id="glued begin"),
        pytest.param(BEGIN + b"\n*" + REST, "base64", id="junk in base64"),
        pytest.param(BEGIN + b"\n=" + REST, "base64", id="padding inside"),
        pytest.param(b"  " + PLAIN, "PEM armour", id="leading spaces"),
        pytest.param(b"junk\n" + PLAIN, "PEM armour", id="junk before"),
        pytest.param(PLAIN + b"x" * (1 << 20), "too many", id="too long"),
    ],
)
def test_case_277_a_damaged_armour_is_refused_with_its_cause(data: bytes, cause: str) -> None:
    with pytest.raises(KeyFileError, match=rf"^id_test: .*{cause}") as caught:
        load(data)
    assert not isinstance(caught.value, WrongPassphrase)


# --- header and private part (case 278) ----------------------------------------------------------

BCRYPT = string(b"salt" * 4) + (16).to_bytes(4, "big")


def test_the_building_set_of_these_tests_builds_a_good_file() -> None:
    assert load(container(GOOD)).public == KEY.public


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        pytest.param(container(GOOD, magic=b"openssh-key-v2\0"), "not an openssh", id="magic"),
        pytest.param(container(GOOD, magic=b""), "not an openssh", id="no magic"),
        pytest.param(armour(b""), "not an openssh", id="nothing inside"),
        pytest.param(container(GOOD, count=0), "0 keys", id="no key"),
        pytest.param(container(GOOD, count=2), "2 keys", id="two keys"),
        pytest.param(container(GOOD, count=2**32 - 1), "4294967295 keys", id="2^32-1 keys"),
        pytest.param(container(GOOD, behind=b"\0"), "too many", id="trailing"),
        pytest.param(container(GOOD, behind=GOOD), "too many", id="second private part"),
        pytest.param(container(GOOD, cipher=b"aes256-ctr"), "no passphrase", id="no kdf"),
        pytest.param(container(GOOD, options=b"x"), "no passphrase", id="options without kdf"),
        pytest.param(
            container(GOOD, derivation=b"bcrypt", options=BCRYPT), "in clear", id="kdf, no cipher"
        ),
        pytest.param(
            container(GOOD, cipher=b"rot13", derivation=b"bcrypt", options=BCRYPT),
            "unknown cipher 'rot13'",
            id="cipher unknown",
        ),
        pytest.param(
            container(GOOD, cipher=b"aes256-ctr", derivation=b"scrypt", options=BCRYPT),
            "unknown method 'scrypt'",
            id="kdf unknown",
        ),
        pytest.param(
            container(GOOD, cipher=b"aes256-ctr", derivation=b"bcrypt", options=BCRYPT + b"\0"),
            "too many",
            id="kdf options trailing",
        ),
        pytest.param(
            container(GOOD, cipher=b"aes256-ctr", derivation=b"bcrypt", options=BCRYPT[:-1]),
            "uint32",
            id="kdf options short",
        ),
        pytest.param(
            container(
                GOOD, cipher=b"aes256-ctr", derivation=b"bcrypt", options=string(b"") + b"\0\0\0\1"
            ),
            "no salt",
            id="no salt",
        ),
        pytest.param(
            container(bytes(24), cipher=b"aes256-ctr", derivation=b"bcrypt", options=BCRYPT),
            "multiple of 16",
            id="not whole blocks",
        ),
        pytest.param(
            container(
                bytes(32), cipher=b"aes256-gcm@openssh.com", derivation=b"bcrypt", options=BCRYPT
            ),
            "missing or left over",
            id="tag missing",
        ),
        pytest.param(container(b""), "0 bytes", id="private part empty"),
        pytest.param(container(GOOD[:-1]), "multiple of 8", id="private part cut"),
        pytest.param(container(b"\xff" * 8), "without a type", id="nothing but checks"),
        pytest.param(
            container(private_part(KEY.encode(), check=CHECK + b"\1\2\3\5")),
            "check numbers",
            id="check numbers",
        ),
        pytest.param(container(GOOD[:-1] + b"\xff"), "padding", id="padding"),
        pytest.param(container(GOOD + bytes(range(1, 9))), "padding", id="padding twice"),
        pytest.param(
            container(CHECK * 2 + KEY.encode() + string(b"") + bytes(300 - 5)),
            "padding|multiple",
            id="padding of zeros",
        ),
        pytest.param(
            container(GOOD, public=RSA.public.blob), "does not belong", id="other public half"
        ),
        pytest.param(container(GOOD, public=b""), "does not belong", id="no public half"),
        pytest.param(
            container(private_part(string(b"ssh-dss") + mpint(7) * 5)), "unknown type", id="DSA"
        ),
    ],
)
def test_case_278_a_damaged_file_is_refused_with_its_cause(data: bytes, cause: str) -> None:
    with pytest.raises(KeyFileError, match=rf"^id_test: .*({cause})") as caught:
        load(data, b"passphrase")
    assert not isinstance(caught.value, WrongPassphrase)


def test_r116_every_prefix_of_a_file_is_an_error_and_nothing_else() -> None:
    # R116
    raw = unarmour(PLAIN)
    for size in range(len(raw)):
        with pytest.raises(KeyFileError):
            load(armour(raw[:size]))
    for size in range(len(PLAIN) - len("-----\n")):
        with pytest.raises(KeyFileError):
            load(PLAIN[:size])


@pytest.mark.parametrize("passphrase", [None, b"passphrase"])
def test_every_byte_counts(passphrase: bytes | None) -> None:
    # The two check numbers are the only bytes that may change together; none may change alone.
    cipher = "aes256-gcm@openssh.com"
    raw = unarmour(KEY.to_openssh(passphrase, cipher=cipher, rounds=1))
    # A passphrase costs ten milliseconds each time.
    for at in range(0, len(raw), 5 if passphrase else 1):
        changed = bytearray(raw)
        changed[at] ^= 0x40
        try:
            key = load_private_key(armour(bytes(changed)), passphrase, most_rounds=1)
        except KeyFileError:
            continue
        # Only the comment may read otherwise.
        assert key.public == KEY.public
        assert key.comment != KEY.comment
        assert passphrase is None


@pytest.mark.parametrize("rounds", [0, 2049, 2**31, 2**32 - 1])
def test_r074_case_279_rounds_of_bcrypt_are_bounded(rounds: int) -> None:
    # R074: the number is a stranger's, and 2^32 - 1 rounds are half a year of work.
    data = container(
        padded(bytes(32), 16),
        cipher=b"aes256-ctr",
        derivation=b"bcrypt",
        options=string(b"salt" * 4) + rounds.to_bytes(4, "big"),
    )
    start = time.process_time()
    with pytest.raises(KeyFileError, match="rounds") as caught:
        load(data, b"passphrase")
    assert time.process_time() - start < 10
    assert not isinstance(caught.value, WrongPassphrase)


def test_more_rounds_are_a_callers_choice() -> None:
    data = KEY.to_openssh(b"x", rounds=5)
    with pytest.raises(KeyFileError, match="5 rounds, where 4 are allowed") as caught:
        load_private_key(data, b"x", most_rounds=4)
    assert caught.value.hint
    assert load_private_key(data, b"x", most_rounds=5).public == KEY.public


# --- the numbers of a key (cases 266, 281, 282) --------------------------------------------------


def refused(fields: bytes, cause: str, public: bytes) -> None:
    with pytest.raises(KeyFileError, match=cause):
        load(container(private_part(fields), public=public))
    # The agent protocol carries the same fields.
    with pytest.raises(KeyFileError, match=cause):
        PrivateKey.read(Cursor(fields))


def test_an_ed25519_key_whose_halves_differ_is_refused() -> None:
    # Signing with another's public half would give the seed away.
    other = PrivateKey.generate("ed25519")
    point, wrong = KEY.public.blob[-32:], other.public.blob[-32:]
    seed = KEY.encode()[-64:-32]
    name = string(b"ssh-ed25519")
    belongs = "do not belong together"
    refused(name + string(wrong) + string(seed + point), belongs, KEY.public.blob)
    refused(name + string(point) + string(seed + wrong), belongs, KEY.public.blob)
    refused(name + string(wrong) + string(seed + wrong), belongs, other.public.blob)
    refused(name + string(point[:31]) + string(seed + point), "wrong length", KEY.public.blob)
    refused(name + string(point) + string(seed), "wrong length", KEY.public.blob)


def test_case_282_an_ecdsa_key_whose_numbers_do_not_fit_is_refused() -> None:
    cursor = Cursor(ECDSA.encode())
    name, curve, point = string(cursor.string()), string(cursor.string()), string(cursor.string())
    scalar = cursor.mpint()
    public = ECDSA.public.blob
    for bad in (0, -1, NISTP256.order, NISTP256.order + scalar, -scalar):
        refused(name + curve + point + mpint(bad), "outside the curve's order", public)
    refused(name + curve + point + mpint(scalar ^ 1), "do not belong together", public)
    refused(name + string(b"nistp384") + point + mpint(scalar), "another curve", public)
    refused(name + curve + string(b"\2") + mpint(scalar), "do not belong together", public)


def rsa_fields(**changes: int) -> bytes:
    cursor = Cursor(RSA.encode())
    cursor.string()
    numbers = {field: cursor.mpint() for field in ("n", "e", "d", "iqmp", "p", "q")}
    numbers.update(changes)
    return string(b"ssh-rsa") + b"".join(map(mpint, numbers.values()))


def test_case_281_an_rsa_key_whose_numbers_do_not_fit_is_refused() -> None:
    cursor = Cursor(RSA.encode())
    cursor.string()
    n, e, d, iqmp, p, q = (cursor.mpint() for _ in range(6))
    public = RSA.public.blob
    assert load(container(private_part(rsa_fields()), public=public)).public == RSA.public
    belongs = "do not belong together"
    refused(rsa_fields(p=q, q=p), belongs, public)
    refused(rsa_fields(p=p + 2), belongs, public)
    refused(rsa_fields(q=q + 2), belongs, public)
    refused(rsa_fields(p=n, q=1), belongs, public)
    refused(rsa_fields(p=0), belongs, public)
    refused(rsa_fields(p=-p, q=-q), belongs, public)
    refused(rsa_fields(d=d + 2), belongs, public)
    refused(rsa_fields(d=0), belongs, public)
    refused(rsa_fields(d=-d), belongs, public)
    refused(rsa_fields(iqmp=iqmp + 1), belongs, public)
    refused(rsa_fields(iqmp=iqmp + p), belongs, public)
    refused(rsa_fields(iqmp=0), belongs, public)
    refused(rsa_fields(e=e + 2), belongs, public)
    refused(rsa_fields(e=1), "exponent", public)
    refused(rsa_fields(n=n + 1), "even", public)


def test_case_281_a_short_rsa_key_is_refused() -> None:
    # 512 bits fall within hours on one machine.
    p, q = 2**127 - 1, 2**89 - 1
    n = p * q
    d = pow(65537, -1, (p - 1) * (q - 1))
    fields = rsa_fields(n=n, e=65537, d=d, p=p, q=q, iqmp=pow(q, -1, p))
    refused(fields, "too short", string(b"ssh-rsa") + mpint(65537) + mpint(n))


def test_truncated_fields_of_every_kind_are_refused() -> None:
    for key in (KEY, ECDSA, RSA):
        fields = key.encode()
        for size in range(0, len(fields), 1 if len(fields) < 300 else 7):
            with pytest.raises(KeyFileError):
                PrivateKey.read(Cursor(fields[:size]))


# --- making (R122) -------------------------------------------------------------------------------


def test_a_thousand_new_keys_are_a_thousand_different_keys() -> None:
    assert len({PrivateKey.generate("ed25519").public.blob for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("kind", "bits", "key_type", "size"),
    [
        ("ed25519", None, "ssh-ed25519", 256),
        ("ed25519", 256, "ssh-ed25519", 256),
        ("ecdsa", None, "ecdsa-sha2-nistp256", 256),
        ("ecdsa", 384, "ecdsa-sha2-nistp384", 384),
        ("ecdsa", 521, "ecdsa-sha2-nistp521", 521),
        ("rsa", 2048, "ssh-rsa", 2048),
        ("rsa", None, "ssh-rsa", 3072),
    ],
)
def test_keys_are_made_in_every_kind_and_size(
    kind: str, bits: int | None, key_type: str, size: int
) -> None:
    key = PrivateKey.generate(kind, bits=bits, comment="new")
    assert (key.public.key_type, key.public.bits, key.comment) == (key_type, size, "new")


@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        ("dsa", None),
        ("ED25519", None),
        ("ed25519", 255),
        ("ecdsa", 512),
        ("rsa", 2047),
        ("rsa", 1024),
        ("rsa", 16385),
        ("rsa", 0),
    ],
)
def test_weak_and_unknown_keys_are_not_made(kind: str, bits: int | None) -> None:
    with pytest.raises(UsageError):
        PrivateKey.generate(kind, bits=bits)


def test_nothing_secret_is_shown() -> None:
    # R210
    for key in (KEY, ECDSA, RSA):
        assert repr(key) == f"<PrivateKey {key.public.kind} {key.public.fingerprint()}>"
        assert str(key) == repr(key)
        assert "object at" in repr(key._secret)
    with pytest.raises(WrongPassphrase) as caught:
        load(KEY.to_openssh(b"hunter2", rounds=1), b"hunter3")
    assert "hunter" not in repr(caught.value)


def test_every_kind_says_where_it_is_defined() -> None:
    for kind in KINDS.values():
        assert kind.source.startswith(("RFC ", "OpenSSH PROTOCOL.", "draft-"))
        assert kind.signatures
        assert type(kind).__doc__
