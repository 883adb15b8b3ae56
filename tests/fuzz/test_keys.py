# SPDX-License-Identifier: MIT
"""Whatever bytes a key is said to be: a key comes out, or KeyFileError."""

import binascii
import contextlib

from hypothesis import given
from hypothesis import strategies as st

from tellin.errors import KeyFileError
from tellin.keys import PrivateKey, PublicKey, load_private_key, load_public_key
from tellin.keys.kinds import KINDS
from tellin.wire import Cursor, string

KEYS = [
    PrivateKey.generate("ed25519", comment="me"),
    PrivateKey.generate("ecdsa"),
    PrivateKey.generate("rsa", bits=2048),
]
FILES = [
    *(key.to_openssh() for key in KEYS),
    *(key.to_openssh(b"x", cipher="aes256-gcm@openssh.com", rounds=1) for key in KEYS),
    *(key.to_pkcs8() for key in KEYS),
    *(key.to_pem() for key in KEYS[1:]),
]
PUBLIC = [
    form
    for key in KEYS
    for form in (
        key.public.to_line().encode(),
        key.public.to_pem(),
        key.public.to_pkcs8(),
        key.public.to_rfc4716("a comment").encode(),
    )
]
names = st.sampled_from([name.encode() for name in KINDS])
fields = st.lists(
    st.one_of(st.binary(max_size=80), st.sampled_from([b"nistp256", b"\1\0\1", b"\x80", b""])),
    max_size=8,
)


@st.composite
def damaged(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """A good file with a stretch of it replaced."""
    data = draw(st.sampled_from(originals))
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + 40)))
    return data[:start] + draw(st.binary(max_size=40)) + data[end:]


@st.composite
def damaged_inside(draw: st.DrawFn) -> bytes:
    """The same under a good armour."""
    data = draw(st.sampled_from(FILES))
    begin, *lines, end = data.splitlines()
    raw = bytearray(binascii.a2b_base64(b"".join(lines)))
    for _ in range(draw(st.integers(1, 4))):
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    del raw[draw(st.integers(len(raw) // 2, len(raw))) :]
    return b"\n".join([begin, binascii.b2a_base64(raw, newline=False), end, b""])


@given(st.one_of(st.binary(), damaged(FILES), damaged_inside()))
def test_a_private_key_file_is_a_key_or_an_error(data: bytes) -> None:
    with contextlib.suppress(KeyFileError):
        key = load_private_key(data, b"x", most_rounds=2)
        algorithm = key.public.signature_algorithms[0]
        assert key.public.verify(b"data", key.sign(b"data"), algorithm=algorithm)


@given(st.one_of(st.binary(), damaged(PUBLIC), damaged(FILES)))
def test_a_public_key_file_is_a_key_or_an_error(data: bytes) -> None:
    with contextlib.suppress(KeyFileError):
        key = load_public_key(data)
        assert PublicKey.from_line(key.to_line()) == key


@given(st.text())
def test_a_line_is_a_key_or_an_error(line: str) -> None:
    with contextlib.suppress(KeyFileError):
        PublicKey.from_line(line)


@given(names, fields)
def test_a_blob_is_a_key_or_an_error(name: bytes, parts: list[bytes]) -> None:
    blob = string(name) + b"".join(map(string, parts))
    with contextlib.suppress(KeyFileError):
        assert PublicKey.from_blob(blob).blob == blob


@given(names, fields)
def test_private_fields_are_a_key_or_an_error(name: bytes, parts: list[bytes]) -> None:
    blob = string(name) + b"".join(map(string, parts))
    with contextlib.suppress(KeyFileError):
        assert PrivateKey.read(Cursor(blob)).encode() == blob


@given(
    st.sampled_from(KEYS), st.one_of(st.binary(), fields.map(lambda p: b"".join(map(string, p))))
)
def test_a_signature_that_was_not_made_is_false(key: PrivateKey, signature: bytes) -> None:
    for algorithm in key.public.signature_algorithms:
        assert key.public.verify(b"data", signature, algorithm=algorithm) is False
        named = string(algorithm.encode()) + string(signature)
        assert key.public.verify(b"data", named, algorithm=algorithm) is False


SIGNATURES = [(key.public, key.sign(b"data")) for key in KEYS]


@given(st.sampled_from(SIGNATURES), st.data())
def test_a_changed_signature_is_false(
    signed: tuple[PublicKey, bytes], data: st.DataObject
) -> None:
    public, signature = signed
    blob = bytearray(signature)
    at = data.draw(st.integers(0, len(blob) - 1))
    blob[at] ^= data.draw(st.integers(1, 255))
    algorithm = public.signature_algorithms[0]
    assert public.verify(b"data", bytes(blob), algorithm=algorithm) is False
