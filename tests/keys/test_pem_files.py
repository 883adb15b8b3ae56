# SPDX-License-Identifier: MIT
"""Keys in PEM armour and in RFC 4716: other programs' files (cases 277, 281, 282, 285)."""

import binascii
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519

from tellin.errors import KeyFileError, UsageError, WrongPassphrase
from tellin.keys import PrivateKey, PublicKey, load_private_key, load_public_key

KEYS = [
    PrivateKey.generate("ed25519"),
    PrivateKey.generate("ecdsa", bits=256),
    PrivateKey.generate("ecdsa", bits=384),
    PrivateKey.generate("ecdsa", bits=521),
    PrivateKey.generate("rsa", bits=2048),
]
ED25519, P256, P384, P521, RSA = KEYS
each_key = pytest.mark.parametrize("key", KEYS, ids=lambda key: key.public.key_type)


def load(data: bytes, passphrase: bytes | None = None) -> PrivateKey:
    return load_private_key(data, passphrase, name="id_test")


def pem(label: str, der: bytes) -> bytes:
    encoded = binascii.b2a_base64(der, newline=False)
    lines = [encoded[at : at + 64] for at in range(0, len(encoded), 64)]
    return b"\n".join(
        [f"-----BEGIN {label}-----".encode(), *lines, f"-----END {label}-----".encode(), b""]
    )


@each_key
@pytest.mark.parametrize("form", ["to_pem", "to_pkcs8"])
def test_a_key_comes_back_from_every_form(key: PrivateKey, form: str) -> None:
    if key is ED25519 and form == "to_pem":
        with pytest.raises(UsageError, match="PKCS #8"):
            key.to_pem()
        return
    for passphrase in (None, b"passphrase"):
        data = getattr(key, form)(passphrase)
        again = load(data, passphrase)
        assert again.encode() == key.encode()
        assert again.comment == ""
        # What stands around the armour is passed over, line ends may be those of Windows.
        around = b"Bag Attributes\n    localKeyID: 01\n" + data + b"more words"
        assert load(around.replace(b"\n", b"\r\n"), passphrase).public == key.public
    for wrong in (b"other", b"passphrase "):
        with pytest.raises(WrongPassphrase, match=r"^id_test: incorrect passphrase"):
            load(data, wrong)
    for nothing in (None, b""):
        with pytest.raises(WrongPassphrase, match=r"^id_test: a passphrase is needed"):
            load(data, nothing)


@each_key
def test_a_public_key_comes_back_from_every_form(key: PrivateKey) -> None:
    public = key.public
    for data in (public.to_pkcs8(), public.to_pem(), public.to_rfc4716().encode()):
        assert load_public_key(data) == public
        assert load_public_key(data.replace(b"\n", b"\r\n")) == public
    begin = b"-----BEGIN RSA PUBLIC KEY-----" if key is RSA else b"-----BEGIN PUBLIC KEY-----"
    assert public.to_pem().startswith(begin)
    assert public.to_pkcs8().startswith(b"-----BEGIN PUBLIC KEY-----")


def test_an_unencrypted_key_needs_no_passphrase_and_minds_none() -> None:
    assert load(P256.to_pem(), b"anything").public == P256.public
    assert load(P256.to_openssh(), b"anything").public == P256.public


def test_parameters_before_an_ec_key_are_passed_over() -> None:
    # What ``openssl ecparam -genkey`` writes.
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert load(parameters + P256.to_pem()).public == P256.public


def foreign(native: object, *, password: bytes | None = None) -> bytes:
    protection = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return native.private_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
    )


def foreign_public(native: object) -> bytes:
    return native.public_key().public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize(
    ("native", "cause"),
    [
        (dsa.generate_private_key(2048), "no use"),
        (x25519.X25519PrivateKey.generate(), "no use"),
        (ed448.Ed448PrivateKey.generate(), "no use"),
        (ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
        (ec.generate_private_key(ec.SECP224R1()), "secp224r1"),
    ],
    ids=["dsa", "x25519", "ed448", "secp256k1", "secp224r1"],
)
def test_kinds_that_ssh_does_not_know_are_refused(native: object, cause: str) -> None:
    for data, passphrase in ((foreign(native), None), (foreign(native, password=b"x"), b"x")):
        with pytest.raises(KeyFileError, match=f"^id_test: .*{cause}"):
            load(data, passphrase)
    with pytest.raises(KeyFileError, match=cause):
        load_public_key(foreign_public(native), name="id_test")


PEM = RSA.to_pem()
PKCS8 = P256.to_pkcs8()


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        pytest.param(PEM.replace(b"END", b"FIN"), "without its end", id="no end"),
        pytest.param(PEM.partition(b"\n")[0] + b"\n", "without its end", id="begin alone"),
        pytest.param(
            PEM.replace(b"END RSA", b"END EC"), "without its end", id="the end of another"
        ),
        pytest.param(b"  " + PEM.replace(b"\n", b"\n  "), "no PEM armour", id="leading spaces"),
        pytest.param(
            PEM.replace(b"RSA PRIVATE", b"FOO PRIVATE"), "no PEM armour", id="unknown label"
        ),
        pytest.param(pem("RSA PRIVATE KEY", b""), "damaged", id="empty"),
        pytest.param(pem("RSA PRIVATE KEY", b"\x30\x03\x02\x01\x00"), "damaged", id="no numbers"),
        pytest.param(pem("PRIVATE KEY", b"\xff" * 64), "damaged", id="noise"),
        pytest.param(pem("DSA PRIVATE KEY", b"\x30\x00"), "damaged", id="DSA"),
        pytest.param(PEM.replace(b"\nM", b"\n*", 1), "damaged", id="junk in base64"),
        pytest.param(PKCS8.replace(b"PRIVATE", b"ENCRYPTED PRIVATE"), "damaged", id="not sealed"),
        pytest.param(
            b"-----BEGIN RSA PRIVATE KEY-----\n" * 20_000, "without its end", id="20,000 begins"
        ),
    ],
)
def test_case_277_a_damaged_pem_file_is_refused_with_its_cause(data: bytes, cause: str) -> None:
    start = time.process_time()
    with pytest.raises(KeyFileError, match=f"^id_test: .*{cause}") as caught:
        load(data, b"passphrase")
    assert time.process_time() - start < 1
    assert not isinstance(caught.value, WrongPassphrase)


@pytest.mark.parametrize("form", [PEM, PKCS8, P384.to_pkcs8(b"x")], ids=["pem", "pkcs8", "sealed"])
def test_r116_every_prefix_of_a_pem_file_is_an_error_and_nothing_else(form: bytes) -> None:
    for size in range(0, len(form) - len("-----\n"), 3):
        with pytest.raises(KeyFileError):
            load(form[:size], b"x")


# --- DER by hand ---------------------------------------------------------------------------------


def der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    length = bytes([size]) if size < 128 else bytes([0x80 | len(octets)]) + octets
    return bytes([tag]) + length + body


def integer(value: int) -> bytes:
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


PBES2 = der(6, bytes.fromhex("2a864886f70d01050d"))
PBKDF2 = der(6, bytes.fromhex("2a864886f70d01050c"))
SCRYPT = der(6, bytes.fromhex("2b06010401da47040b"))
AES256_CBC = der(0x30, der(6, bytes.fromhex("60864801650304012a")), der(4, bytes(16)))


def sealed(*derivation: bytes, body: bytes = bytes(64)) -> bytes:
    method = der(0x30, PBES2, der(0x30, der(0x30, *derivation), AES256_CBC))
    return pem("ENCRYPTED PRIVATE KEY", der(0x30, method, der(4, body)))


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        pytest.param(
            sealed(PBKDF2, der(0x30, der(4, b"salt"), integer(2**31))), "iterations", id="2^31"
        ),
        pytest.param(
            sealed(PBKDF2, der(0x30, der(4, b"salt"), integer(2**2000))), "iterations", id="2^2000"
        ),
        pytest.param(
            sealed(SCRYPT, der(0x30, der(4, b"salt"), integer(2**20), integer(8), integer(1))),
            "memory|iterations",
            id="scrypt of 1 GiB",
        ),
        pytest.param(
            sealed(SCRYPT, der(0x30, der(4, b"salt"), integer(2**14), integer(8), integer(999))),
            "memory",
            id="scrypt often",
        ),
        pytest.param(pem("ENCRYPTED PRIVATE KEY", b"\x30" * 5000), "damaged", id="nested"),
        pytest.param(
            pem("ENCRYPTED PRIVATE KEY", b"\x30\x80" * 2000), "damaged", id="nested without end"
        ),
        pytest.param(
            pem("ENCRYPTED PRIVATE KEY", b"\x30\x84\xff\xff\xff\xff"), "damaged", id="long"
        ),
        pytest.param(pem("ENCRYPTED PRIVATE KEY", b"\x30"), "damaged", id="one byte"),
        pytest.param(pem("ENCRYPTED PRIVATE KEY", b""), "damaged", id="none"),
    ],
)
def test_case_285_the_work_of_an_encrypted_pkcs8_file_is_bounded(data: bytes, cause: str) -> None:
    # Case 285
    start = time.process_time()
    with pytest.raises(KeyFileError, match=cause) as caught:
        load(data, b"passphrase")
    assert time.process_time() - start < 1
    assert not isinstance(caught.value, WrongPassphrase)


def test_ordinary_work_is_done() -> None:
    data = sealed(PBKDF2, der(0x30, der(4, b"salt"), integer(2048)))
    with pytest.raises(WrongPassphrase):
        load(data, b"passphrase")


def rsa_pem(**changes: int) -> bytes:
    numbers = RSA._secret.native.private_numbers()
    fields = {
        "version": 0,
        "n": numbers.public_numbers.n,
        "e": numbers.public_numbers.e,
        "d": numbers.d,
        "p": numbers.p,
        "q": numbers.q,
        "dmp1": numbers.dmp1,
        "dmq1": numbers.dmq1,
        "iqmp": numbers.iqmp,
    }
    fields.update(changes)
    return pem("RSA PRIVATE KEY", der(0x30, *map(integer, fields.values())))


def test_case_281_rsa_numbers_that_do_not_fit_are_refused_in_pem_too() -> None:
    # Case 281
    assert load(rsa_pem()).public == RSA.public
    numbers = RSA._secret.native.private_numbers()
    wrong: list[dict[str, int]] = [
        {"p": numbers.q, "q": numbers.p},
        {"dmp1": numbers.dmp1 + 2},
        {"dmq1": numbers.dmq1 + 2},
        {"iqmp": numbers.iqmp + 1},
        {"d": numbers.d + 2},
        {"e": 1},
        {"e": 2**40 + 1},
        {"p": 1, "q": numbers.public_numbers.n},
        {"n": numbers.public_numbers.n + 2},
        {"version": 7},
    ]
    for changes in wrong:
        with pytest.raises(KeyFileError) as caught:
            load(rsa_pem(**changes))
        assert not isinstance(caught.value, WrongPassphrase), changes


@pytest.mark.parametrize("bits", [512, 32768])
def test_case_281_rsa_of_a_forbidden_size_is_refused_in_time(bits: int) -> None:
    # Case 281: nobody has to have two real primes of 16384 bits for this.
    p, q = 2 ** (bits // 2) - 1, 2 ** (bits // 2) - 3
    n, e, d = p * q, 65537, 3
    data = rsa_pem(n=n, e=e, d=d, p=p, q=q, dmp1=d, dmq1=d, iqmp=5)
    start = time.process_time()
    with pytest.raises(KeyFileError, match=r"short|long|damaged"):
        load(data)
    assert time.process_time() - start < 1
    public = der(0x30, integer(n), integer(e))
    with pytest.raises(KeyFileError, match=r"short|long|damaged"):
        load_public_key(pem("RSA PUBLIC KEY", public))


def test_a_large_rsa_key_is_read_in_time() -> None:
    # Testing both primes, as the library would by itself, takes half a minute.
    key = PrivateKey.generate("rsa", bits=4096)
    start = time.process_time()
    for data in (key.to_openssh(), key.to_pem(), key.to_pkcs8()):
        assert load(data).public == key.public
    assert time.process_time() - start < 10


def test_case_282_an_ecdsa_scalar_outside_the_order_is_refused_in_pem_too() -> None:
    # Case 282
    for scalar in (bytes(32), b"\xff" * 32):
        key = der(
            0x30,
            integer(1),
            der(4, scalar),
            der(0xA0, der(6, bytes.fromhex("2a8648ce3d030107"))),
        )
        with pytest.raises(KeyFileError, match="damaged"):
            load(pem("EC PRIVATE KEY", key))


# --- RFC 4716 ------------------------------------------------------------------------------------

BLOB = binascii.b2a_base64(ED25519.public.blob, newline=False).decode()


def rfc4716(*lines: str) -> bytes:
    return "\n".join(
        ["---- BEGIN SSH2 PUBLIC KEY ----", *lines, "---- END SSH2 PUBLIC KEY ----", ""]
    ).encode()


def test_rfc_4716_is_written_in_its_bounds() -> None:
    comment = 'a "long" comment ' + "x" * 200
    text = ED25519.public.to_rfc4716(comment)
    assert max(map(len, text.splitlines())) <= 72
    again = load_public_key(text.encode())
    assert again == ED25519.public
    assert again.comment == comment
    with pytest.raises(UsageError):
        ED25519.public.to_rfc4716("two\nlines")


def test_rfc_4716_headers_are_read() -> None:
    data = rfc4716('Comment: "my \\', 'key"', "Subject: me", "x-own: a \\", "b \\", "c", BLOB)
    key = load_public_key(data)
    assert (key, key.comment) == (ED25519.public, "my key")
    assert load_public_key(rfc4716("COMMENT: plain", BLOB[:40], BLOB[40:])).comment == "plain"
    assert load_public_key(b"\n\n" + rfc4716(BLOB)).comment == ""


@pytest.mark.parametrize(
    "data",
    [
        rfc4716(),
        rfc4716(BLOB[:-4]),
        rfc4716(BLOB + "!"),
        rfc4716(BLOB).replace(b"END", b"FIN"),
        b"words\n" + rfc4716(BLOB),
        rfc4716("Comment: " + "x" * 2000, BLOB),
        rfc4716("Comment: unfinished \\"),
        rfc4716("\u0416\u0416\u0416\u0416"),
    ],
)
def test_a_damaged_rfc_4716_file_is_refused(data: bytes) -> None:
    with pytest.raises(KeyFileError, match=r"^id_test: "):
        load_public_key(data, name="id_test")


def test_a_public_key_file_that_is_none_is_refused() -> None:
    for data in (
        b"",
        b"\0" * 50,
        b"words",
        P256.public.to_pkcs8().replace(b"END", b"FIN"),
        pem("PUBLIC KEY", b"\x30\x00"),
        pem("CERTIFICATE", b"\x30\x00"),
        b"x" * (1 << 21),
    ):
        with pytest.raises(KeyFileError, match=r"^id_test: "):
            load_public_key(data, name="id_test")


def test_rsa_keys_of_the_library_and_ours_are_the_same() -> None:
    native = rsa.generate_private_key(65537, 2048)
    key = load(foreign(native))
    numbers = native.public_key().public_numbers()
    assert key.public == PublicKey.from_blob(key.public.blob)
    assert load_public_key(foreign_public(native)) == key.public
    assert key.public.bits == numbers.n.bit_length()
