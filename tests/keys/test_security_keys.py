# SPDX-License-Identifier: MIT
"""Keys inside security keys: their signatures, what those say, and what is refused; OpenSSH judges the same bytes."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.keys.software_authenticator import (
    ECDSA,
    ED25519,
    EXTENDED,
    PRESENT,
    VERIFIED,
    WEBAUTHN,
    SoftwareAuthenticator,
    file_signature,
    file_signed_data,
    put,
)

from tellin.errors import KeyFileError, SignatureFailed, UsageError
from tellin.keys import PrivateKey, PublicKey, load_private_key, load_public_key
from tellin.wire import string

DATA = b"what was agreed upon"


@pytest.fixture(params=["ed25519", "ecdsa"])
def token(request: pytest.FixtureRequest) -> SoftwareAuthenticator:
    return SoftwareAuthenticator(request.param)


@pytest.fixture
def key(token: SoftwareAuthenticator) -> PublicKey:
    return PublicKey.from_blob(token.blob)


# Keys


def test_a_key_is_shown_as_openssh_shows_it(
    token: SoftwareAuthenticator, key: PublicKey, tmp_path: Path
) -> None:
    assert key.key_type == token.key_type
    assert key.bits == 256
    assert PublicKey.from_line(token.line) == key
    assert key.to_line() == token.line
    path = tmp_path / "key.pub"
    path.write_text(token.line + " me\n")
    done = subprocess.run(["ssh-keygen", "-lf", path], capture_output=True, text=True, check=True)
    assert done.stdout == f"256 {key.fingerprint()} me ({key.kind})\n"


def test_a_private_file_is_read_written_and_signs_nothing(
    token: SoftwareAuthenticator, key: PublicKey, tmp_path: Path
) -> None:
    private = load_private_key(token.private_file())
    assert private.public == key
    assert private.comment == "token"
    assert load_public_key(token.private_file()) == key
    again = load_private_key(private.to_openssh(b"secret", rounds=1), b"secret")
    assert again.encode() == private.encode()
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(private.to_openssh())
    shown = subprocess.run(["ssh-keygen", "-yf", path], capture_output=True, text=True, check=True)
    assert shown.stdout.rstrip("\n") == f"{key.to_line()} token"
    with pytest.raises(SignatureFailed) as caught:
        private.sign(DATA)
    assert "an agent" in caught.value.hint


def test_there_is_no_other_format(token: SoftwareAuthenticator, key: PublicKey) -> None:
    private = load_private_key(token.private_file())
    for refused in (private.to_pem, private.to_pkcs8, key.to_pem, key.to_pkcs8):
        with pytest.raises(UsageError, match=f"no PEM form of {key.kind}"):
            refused()


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        put(bytes(31), b"ssh:"),
        put(bytes(33), b"ssh:"),
        put(bytes(32)),
        put(bytes(32), b"ssh:", b""),
        put(bytes(32), b"ssh:\0"),
        put(bytes(32), b"s" * 256),
        put(bytes(32)) + b"\0\0\0\5ssh:",
    ],
    ids=range(8),
)
def test_r075_a_key_of_the_wrong_form_is_refused(fields: bytes) -> None:
    with pytest.raises(KeyFileError):
        PublicKey.from_blob(put(ED25519.encode()) + fields)


def test_r075_a_point_off_the_curve_is_refused() -> None:
    for point in (b"\4" + bytes(64), b"\4" + b"\1" * 64, b""):
        with pytest.raises(KeyFileError):
            PublicKey.from_blob(put(ECDSA.encode(), b"nistp256", point, b"ssh:"))
    head, _, tail = SoftwareAuthenticator("ecdsa").blob.rpartition(b"nistp256")
    with pytest.raises(KeyFileError):
        PublicKey.from_blob(head + b"nistp384" + tail)


@pytest.mark.parametrize(
    "private",
    [
        lambda token: token.private_file().replace(b"A" * 8, b"B" * 8),
        lambda token: token.private_file()[:-60],
    ],
    ids=["changed", "cut"],
)
def test_a_damaged_private_file_is_refused(
    private: Callable[[SoftwareAuthenticator], bytes], token: SoftwareAuthenticator
) -> None:
    with pytest.raises(KeyFileError):
        load_private_key(private(token))


# Signatures


def test_a_signature_holds_for_its_data_key_and_algorithm_only(
    token: SoftwareAuthenticator, key: PublicKey
) -> None:
    blob = token.sign(DATA)
    assert key.verify(DATA, blob, algorithm=token.key_type)
    assert not key.verify(DATA + b"!", blob, algorithm=token.key_type)
    for other in (*key.signature_algorithms, "ssh-ed25519", "ecdsa-sha2-nistp256", ""):
        if other != token.key_type:
            assert not key.verify(DATA, blob, algorithm=other)
    elsewhere = SoftwareAuthenticator("ed25519" if token.key_type == ED25519 else "ecdsa")
    assert not PublicKey.from_blob(elsewhere.blob).verify(DATA, blob, algorithm=token.key_type)


def test_case_143_any_byte_changed_missing_or_behind_is_refused(
    token: SoftwareAuthenticator, key: PublicKey
) -> None:
    """The flags and the counter are signed too: case 143."""
    blob = token.sign(DATA, flags=PRESENT | VERIFIED)
    assert key.verify(DATA, blob, algorithm=token.key_type)
    for at in range(len(blob)):
        changed = bytearray(blob)
        changed[at] ^= 0x02
        assert not key.verify(DATA, bytes(changed), algorithm=token.key_type), at
        assert not key.verify(DATA, blob[:at], algorithm=token.key_type), at
    assert not key.verify(DATA, blob + b"\0", algorithm=token.key_type)


def test_case_143_a_signature_for_another_application_is_refused(
    token: SoftwareAuthenticator, key: PublicKey
) -> None:
    token.application = b"https://evil.example"
    assert not key.verify(DATA, token.sign(DATA), algorithm=token.key_type)


@pytest.mark.parametrize(
    ("flags", "required", "right"),
    [
        (PRESENT, {}, True),
        (0, {}, False),
        (VERIFIED, {}, False),
        (0, {"touch_required": False}, True),
        (PRESENT, {"verify_required": True}, False),
        (PRESENT | VERIFIED, {"verify_required": True}, True),
        (VERIFIED, {"touch_required": False, "verify_required": True}, True),
        (0, {"touch_required": False, "verify_required": True}, False),
    ],
)
def test_r073_case_143_touch_and_verification_are_held_to(
    token: SoftwareAuthenticator, flags: int, required: dict[str, bool], right: bool
) -> None:
    key, blob = PublicKey.from_blob(token.blob), token.sign(DATA, flags=flags)
    assert key.verify(DATA, blob, algorithm=token.key_type, **required) is right


def test_a_plain_signature_by_the_inner_key_is_none(token: SoftwareAuthenticator) -> None:
    """Without flags it would say nothing of a touch."""
    key = PublicKey.from_blob(token.blob)
    bare = put(token.key_type.encode(), token._raw(DATA))
    assert not key.verify(DATA, bare, algorithm=token.key_type)
    assert not key.verify(DATA, bare + bytes(5), algorithm=token.key_type, touch_required=False)


# By way of a browser


@pytest.fixture
def browser() -> tuple[SoftwareAuthenticator, PublicKey]:
    token = SoftwareAuthenticator("ecdsa", b"example.org")
    return token, PublicKey.from_blob(token.blob)


@pytest.mark.parametrize("extensions", [b"", b"\xa1extension"])
def test_a_browsers_signature_holds(
    browser: tuple[SoftwareAuthenticator, PublicKey], extensions: bytes
) -> None:
    token, key = browser
    flags = PRESENT | (EXTENDED if extensions else 0)
    blob = token.sign_in_browser(DATA, flags=flags, extensions=extensions)
    assert key.verify(DATA, blob, algorithm=WEBAUTHN)
    assert not key.verify(DATA + b"!", blob, algorithm=WEBAUTHN)
    assert not key.verify(DATA, blob, algorithm=ECDSA)
    assert not key.verify(DATA, blob, algorithm=WEBAUTHN, verify_required=True)
    assert not key.verify(DATA, blob + b"\0", algorithm=WEBAUTHN)
    for at in range(len(blob)):
        changed = bytearray(blob)
        changed[at] ^= 0x02
        assert not key.verify(DATA, bytes(changed), algorithm=WEBAUTHN), at


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"origin": 'https://a.example","x":"'}, id="a quote in the origin"),
        pytest.param({"kind": "webauthn.create"}, id="another purpose"),
        pytest.param({"flags": PRESENT | 0x40}, id="attested data"),
        pytest.param({"flags": PRESENT | EXTENDED}, id="extensions announced and missing"),
        pytest.param({"extensions": b"\xa0"}, id="extensions not announced"),
    ],
)
def test_case_143_a_browsers_signature_that_could_mean_something_else_is_refused(
    browser: tuple[SoftwareAuthenticator, PublicKey], changes: dict[str, object]
) -> None:
    token, key = browser
    blob = token.sign_in_browser(DATA, **changes)  # type: ignore[arg-type]
    assert not key.verify(DATA, blob, algorithm=WEBAUTHN)


def test_the_origin_must_be_the_one_that_was_signed(
    browser: tuple[SoftwareAuthenticator, PublicKey],
) -> None:
    token, key = browser
    blob = token.sign_in_browser(DATA, origin="https://example.org")
    assert blob.count(b"https://example.org") == 2
    other = blob.replace(b"https://example.org", b"https://example.com", 1)
    assert not key.verify(DATA, other, algorithm=WEBAUTHN)


# OpenSSH judges the same bytes


@pytest.mark.peer("ssh-keygen")
@pytest.mark.parametrize("way", ["direct", "browser"])
@pytest.mark.parametrize("flags", [PRESENT, PRESENT | VERIFIED])
def test_openssh_takes_what_we_take(
    token: SoftwareAuthenticator, key: PublicKey, way: str, flags: int, tmp_path: Path
) -> None:
    if way == "browser" and token.key_type == ED25519:
        pytest.skip("browsers' signatures are by ECDSA alone")
    data = file_signed_data(b"a message")
    make = token.sign if way == "direct" else token.sign_in_browser
    blob = make(data, flags=flags)
    changed = bytearray(blob)
    changed[-1 if way == "direct" else 60] ^= 1
    algorithm = token.key_type if way == "direct" else WEBAUTHN
    for signature, right in ((blob, True), (bytes(changed), False)):
        assert key.verify(data, signature, algorithm=algorithm) is right
        (tmp_path / "signature").write_bytes(file_signature(token.blob, signature))
        (tmp_path / "allowed").write_text(f"me {token.line}\n")
        done = subprocess.run(
            [
                *("ssh-keygen", "-Y", "verify", "-n", "file", "-I", "me"),
                *("-f", tmp_path / "allowed", "-s", tmp_path / "signature"),
            ],
            input=b"a message",
            capture_output=True,
            check=False,
        )
        assert (done.returncode == 0) is right, done.stderr


def test_nothing_makes_one_here() -> None:
    with pytest.raises(UsageError):
        PrivateKey.generate("ed25519-sk")
    assert string(b"ssh:") in SoftwareAuthenticator().blob
