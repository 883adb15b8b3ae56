# SPDX-License-Identifier: MIT
"""What an agent reads is bounded, whole or not at all: constraints, keys, and what helpers say."""

from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import Any

import pytest
from tests.agent.talk import ECDSA, ED25519, HERE, HOST_A, RSA, Talk, hop
from tests.keys.software_authenticator import SoftwareAuthenticator

from tellin.agent.constraints import Constraints, Destination, Hop
from tellin.agent.credentials import Credential
from tellin.agent.tokens import MOST_RESIDENT, Resident, ResidentListed
from tellin.algorithms.registry import matches
from tellin.errors import KeyFileError, MalformedPacket
from tellin.keys import load_private_key
from tellin.keys.certificates import Certificate
from tellin.keys.private import PrivateKey
from tellin.keys.public import PublicKey
from tellin.programs.agents.ssh_pkcs11_helper import Module, blob_of_point
from tellin.wire import Cursor

CERTIFICATE = Certificate.issue(
    HOST_A, ED25519.public, key_id="id", principals=["me"], nonce=bytes(32)
)
TO_A = Destination(HERE, hop(HOST_A, "a", "me"))


@pytest.mark.parametrize("size", [1024, 1025])
def test_r123_names_in_constraints_are_no_longer_than_they_may_be(size: int) -> None:
    """Patterns of users are matched later on: two long names would cost their product."""
    way = Destination(HERE, hop(HOST_A, "a", "m" * size))
    if size <= 1024:
        assert Talk().add(destinations=(way,))
        return
    with pytest.raises(MalformedPacket, match="too long"):
        Destination.read(way.encode())
    assert not Talk().add(destinations=(way,))


def test_r123_a_user_is_matched_in_the_product_of_the_lengths() -> None:
    # Forty stars would be 2**40 steps to who tries every way; the longest that are let in.
    pattern = "*a" * 20 + "*" * 20 + "b"
    assert not matches("a" * 1024, pattern)
    assert matches("a" * 1023 + "b", pattern)


@pytest.mark.parametrize(
    "whole",
    [
        *(Credential(key).encode() for key in (ED25519, ECDSA, RSA)),
        Credential(ED25519, CERTIFICATE).encode(),
        load_private_key(SoftwareAuthenticator("ecdsa").private_file()).encode(),
    ],
    ids=["ed25519", "ecdsa", "rsa", "certificate", "security key"],
)
def test_r116_every_beginning_of_a_key_is_refused_and_the_whole_is_read(whole: bytes) -> None:
    for end in range(len(whole)):
        with pytest.raises((KeyFileError, MalformedPacket)):
            Credential.read(Cursor(whole[:end]))
    assert Credential.read(Cursor(whole)).encode() == whole


@pytest.mark.parametrize(
    "bounds",
    [
        Constraints(60),
        Constraints(destinations=(TO_A,)),
        Constraints(provider="internal"),
        Constraints(certificates=(CERTIFICATE,), certified_only=True),
    ],
    ids=["lifetime", "destinations", "provider", "certificates"],
)
def test_r116_r153_every_beginning_of_a_constraint_is_refused(bounds: Constraints) -> None:
    """Cut off, it must not become one that binds less."""
    whole = bounds.encode()
    assert Constraints.read(Cursor(whole)) == bounds
    for end in range(1, len(whole)):
        with pytest.raises(MalformedPacket):
            Constraints.read(Cursor(whole[:end]))


def test_r155_a_helper_lists_no_more_than_there_can_be() -> None:
    one = Resident(b"key", b"user")
    whole = ResidentListed((one,) * 3).encode()
    assert ResidentListed.decode(whole).keys == (one,) * 3
    for count in (4, MOST_RESIDENT + 1, 2**32 - 1):
        with pytest.raises(MalformedPacket):
            ResidentListed.decode(whole[:1] + count.to_bytes(4, "big") + whole[5:])


@pytest.mark.parametrize(
    ("parameters", "point"),
    [
        (b"", b""),
        (bytes.fromhex("06082a8648ce3d030107"), b""),
        (bytes.fromhex("06082a8648ce3d030107"), b"\x04\x41\x04" + bytes(64)),
        (bytes.fromhex("06032b6570"), b"\x04\x20" + bytes(31)),
        (bytes.fromhex("06052b8104000a"), b"\x04\x41\x04" + bytes(64)),
    ],
    ids=["nothing", "no point", "off the curve", "short", "another curve"],
)
def test_a_tokens_point_that_is_none_is_no_key(parameters: bytes, point: bytes) -> None:
    with pytest.raises(KeyFileError):
        PublicKey.from_blob(blob_of_point(parameters, point))


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_tokens_point_is_read_with_and_without_its_wrapping(wrapped: bool) -> None:
    """Section 6.3.3 of PKCS#11 has an OCTET STRING around it, and some tokens have none."""
    names = {
        "nistp256": "06082a8648ce3d030107",
        "nistp384": "06052b81040022",
        "nistp521": "06052b81040023",
    }
    for bits, (name, parameters) in zip((256, 384, 521), names.items(), strict=True):
        key = PrivateKey.generate("ecdsa", bits=bits).public
        cursor = Cursor(key.blob)
        assert (cursor.string()[11:], cursor.string()) == (name.encode(), name.encode())
        point = cursor.string()
        size = len(point)
        head = bytes((4, size)) if size < 128 else bytes((4, 0x81, size))
        given = head + point if wrapped else point
        assert blob_of_point(bytes.fromhex(parameters), given) == key.blob
    raw = ED25519.public.blob[-32:]
    given = b"\x04\x20" + raw if wrapped else raw
    for parameters in ("06032b6570", "130c656477617264733235353139"):
        assert blob_of_point(bytes.fromhex(parameters), given) == ED25519.public.blob


def test_hop_with_a_nul_is_no_name() -> None:
    with pytest.raises(MalformedPacket):
        Hop.read(Hop("", "a\0b", ()).encode())


class Attribute(Enum):
    """Those that a helper asks a token for."""

    CLASS = 0
    LABEL = 3
    ID = 0x102
    KEY_TYPE = 0x100
    EC_PARAMS = 0x180
    EC_POINT = 0x181


class TokenSession:
    """Finds objects on a token: public keys that have what the library's would."""

    def __init__(self, *found: dict[Attribute, Any]) -> None:
        self.found = found

    def get_objects(self, wanted: dict[Attribute, Any]) -> list[Any]:
        return [Found(one) for one in self.found if wanted[Attribute.CLASS] == "public"]


class Found(dict[Attribute, Any]):
    """One of them; what cannot be decoded is an error when it is asked for."""

    def __getitem__(self, name: Attribute) -> Any:
        value = super().__getitem__(name)
        return value() if callable(value) else value


def test_a_tokens_key_is_of_use_whatever_its_label_is_written_in() -> None:
    """One whose type has no name is none; a label that is no text is only a label."""
    module = Module.__new__(Module)
    module._pkcs11 = SimpleNamespace(
        Attribute=Attribute,
        ObjectClass=SimpleNamespace(PUBLIC_KEY="public", CERTIFICATE="certificate"),
        KeyType=SimpleNamespace(RSA="rsa"),
        PKCS11Error=NotImplementedError,
    )
    sound = {
        Attribute.KEY_TYPE: "ed25519",
        Attribute.EC_PARAMS: bytes.fromhex("06032b6570"),
        Attribute.EC_POINT: ED25519.public.blob[-32:],
        Attribute.ID: b"\1",
    }
    session = TokenSession(
        {**sound, Attribute.LABEL: lambda: b"J\xfcrgen".decode("utf-8")},
        {**sound, Attribute.LABEL: "mine"},
        {**sound, Attribute.KEY_TYPE: lambda: IntEnum("KeyType", {"RSA": 0})(0x80000001)},
    )
    assert list(module._public_keys(session)) == [
        (ED25519.public.blob, "", b"\1"),
        (ED25519.public.blob, "mine", b"\1"),
    ]
