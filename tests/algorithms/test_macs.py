# SPDX-License-Identifier: MIT
"""MACs against the vectors of RFC 2202, RFC 4231 and RFC 4418."""

import pytest

from tellin.algorithms.macs import MACS, Hmac, Mac
from tellin.algorithms.umac import Umac


def hmac(hash_name: str, size: int, key: bytes, message: bytes) -> str:
    """The sequence number comes first, so a vector's first four bytes are given as it."""
    sequence = int.from_bytes(message[:4], "big")
    return Hmac(key, hash_name, size).tag(sequence, memoryview(message)[4:]).hex()


@pytest.mark.parametrize(
    ("key", "message", "sha256", "sha512"),
    [
        (
            b"\x0b" * 20,
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            (
                "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
                "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"
            ),
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            (
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
                "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
            ),
        ),
        (
            b"\xaa" * 20,
            b"\xdd" * 50,
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            (
                "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39"
                "bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb"
            ),
        ),
    ],
)
def test_hmac_sha2_of_rfc_4231(key: bytes, message: bytes, sha256: str, sha512: str) -> None:
    assert hmac("sha256", 32, key, message) == sha256
    assert hmac("sha512", 64, key, message) == sha512


def test_hmac_of_rfc_2202() -> None:
    message = b"what do ya want for nothing?"
    assert hmac("md5", 16, b"Jefe", message) == "750c783e6ab0b503eaa86e310a5db738"
    assert hmac("sha1", 20, b"Jefe", message) == "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
    assert hmac("sha1", 12, b"Jefe", message) == "effcdf6ae5eb2fa2d27416d5"


# RFC 4418, appendix: key, nonce, and tags of 96 and 64 bits. A tag of 128 bits begins with the one
# of 96: it is hashed by one layer more, and hidden under the same pad.
UMAC_KEY = b"abcdefghijklmnop"
UMAC_NONCE = int.from_bytes(b"bcdefghi", "big")


@pytest.mark.parametrize(
    ("message", "longer", "shorter"),
    [
        (b"", "32fedb100c79ad58f07ff764", "6e155fad26900be1"),
        (b"a" * 3, "185e4fe905cba7bd85e4c2dc", "44b5cb542f220104"),
        (b"a" * 2**10, "7a54abe04af82d60fb298c3c", "26bf2f5d60118bd9"),
        (b"a" * 2**15, "7b136bd911e4b734286ef2be", "27f8ef643b0d118d"),
        (b"abc", "883c3d4b97a61976ffcf2323", "d4d7b9f6bd4fbfcf"),
        (b"abc" * 500, "8824a260c53c66a36c9260a6", "d4cf26ddefd5c01a"),
    ],
    ids=["nothing", "aaa", "a-1024", "a-32768", "abc", "abc-500"],
)
def test_umac_of_rfc_4418(message: bytes, longer: str, shorter: str) -> None:
    view = memoryview(message)
    assert Umac(UMAC_KEY, 8).tag(UMAC_NONCE, view).hex() == shorter
    full = Umac(UMAC_KEY, 16).tag(UMAC_NONCE, view)
    assert len(full) == 16
    assert full.hex().startswith(longer)


def test_umac_of_more_than_one_polynomial_step() -> None:
    assert Umac(UMAC_KEY, 8).tag(UMAC_NONCE, memoryview(b"a" * 2**20)).hex() == "a4477e87e9f55853"


def test_umac_with_sums_past_its_prime() -> None:
    """RFC 4418 section 5.3.1: a word past the range stands for two steps, of marker and rest."""
    layers = Umac(UMAC_KEY, 8)._layers[0]
    prime = 2**64 - 59
    word = 2**64 - 1
    key = layers._second
    expected = ((key + prime - 1) * key + word - 59) % prime
    assert layers._polynomial([word]) == expected
    assert layers._polynomial([2**64 - 2**32 - 1]) == (key + 2**64 - 2**32 - 1) % prime


def test_two_short_tags_share_a_pad_and_differ() -> None:
    umac = Umac(UMAC_KEY, 8)
    tags = {umac.tag(sequence, memoryview(b"same")) for sequence in range(4)}
    assert len(tags) == 4


@pytest.mark.parametrize("row", MACS, ids=lambda row: row.name)
def test_every_mac_gives_tags_of_its_size_that_depend_on_all_there_is(row: Mac) -> None:
    made = row.build(bytes(range(row.key_size)))
    data = memoryview(bytes(40))
    tag = made.tag(7, data)
    assert len(tag) == row.tag_size
    assert made.tag(7, data) == tag, "it keeps nothing from one packet to the next"
    assert made.tag(8, data) != tag
    assert made.tag(7, data[1:]) != tag
    assert row.build(bytes(row.key_size)).tag(7, data) != tag
    assert row.etm == row.name.endswith("-etm@openssh.com")
