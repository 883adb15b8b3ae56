# SPDX-License-Identifier: MIT
"""Packets under every cipher and MAC: they come back whole, or not at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.algorithms.pairs import (
    FEW_PAIRS,
    PAIRS,
    Pair,
    keys,
    label,
    open_,
    opener,
    packet,
    seal,
    sealer,
)

from tellin.algorithms.ciphers import CIPHERS, preferred_ciphers
from tellin.algorithms.macs import CLIENT_MACS, MACS, SERVER_MACS
from tellin.algorithms.protection import CLEAR_OPENER, CLEAR_SEALER, make_opener, make_sealer
from tellin.errors import DisconnectReason, IntegrityError, UsageError

every_pair = pytest.mark.parametrize("pair", PAIRS, ids=label)
few_pairs = pytest.mark.parametrize("pair", FEW_PAIRS, ids=label)


@every_pair
def test_what_is_sealed_opens_again(pair: Pair) -> None:
    out, into = sealer(pair), opener(pair)
    for sequence, size in enumerate((0, 1, 3, 11, 64, 300, 1)):
        clear = packet(size, out, fill=sequence)
        wire = seal(out, clear, sequence, offset=sequence)
        assert len(wire) == len(clear) + out.tag
        assert open_(into, wire, sequence, offset=7 - sequence) == clear[4:]
        assert out.current_iv() == into.current_iv()


@every_pair
def test_both_ends_agree_on_the_form(pair: Pair) -> None:
    cipher, mac = pair
    out, into = sealer(pair), opener(pair)
    assert out.block == into.block == cipher.block_size >= 8
    assert out.tag == into.tag == (cipher.tag_size or (mac.tag_size if mac else 0)) > 0
    apart = mac is not None and not mac.etm
    assert out.length_aligned == into.length_aligned == apart
    assert into.peek == (cipher.block_size if apart else 4)
    assert into.hides_length == (apart and cipher.name.endswith("-cbc"))


@every_pair
def test_nothing_clear_is_left_in_a_sealed_packet(pair: Pair) -> None:
    out = sealer(pair)
    clear = packet(300, out)
    wire = seal(out, clear, 9)
    assert clear[4:12] not in wire
    readable = wire[:4] == clear[:4]
    assert readable is (pair[0].name.endswith("-gcm@openssh.com") or _etm(pair))


def _etm(pair: Pair) -> bool:
    return pair[1] is not None and pair[1].etm


@every_pair
def test_freezing_between_any_two_packets_changes_no_byte(pair: Pair) -> None:
    """Rebuilt from its keys and ``current_iv`` before each packet, it goes on as the old one does."""
    steady, steady_in = sealer(pair), opener(pair)
    iv_out = iv_in = keys(pair)["iv"]
    for sequence, size in enumerate((5, 0, 300, 16, 1)):
        thawed, thawed_in = sealer(pair, iv=iv_out), opener(pair, iv=iv_in)
        clear = packet(size, steady)
        wire = seal(steady, clear, sequence)
        assert seal(thawed, clear, sequence) == wire
        assert open_(steady_in, wire, sequence) == open_(thawed_in, wire, sequence) == clear[4:]
        iv_out, iv_in = thawed.current_iv(), thawed_in.current_iv()
        assert iv_out == steady.current_iv() == steady_in.current_iv() == iv_in


@every_pair
def test_freezing_once_the_length_is_known_changes_no_byte(pair: Pair) -> None:
    """A core may be frozen with half a packet in hand, whose first block is decrypted already."""
    out, into = sealer(pair), opener(pair)
    clear = packet(40, out)
    buffer = bytearray(seal(out, clear, 3))
    view = memoryview(buffer)
    length = into.length(view, 0, 3)
    thawed = opener(pair, iv=into.current_iv())
    thawed.open(view, 0, 4 + length, 3)
    assert buffer[4 : 4 + length] == clear[4:]
    assert thawed.current_iv() == out.current_iv()


@few_pairs
def test_r028_one_flipped_bit_is_found_anywhere(pair: Pair) -> None:
    """Case 43: in the length, the body, the padding and the tag."""
    out = sealer(pair)
    clear = packet(9, out)
    wire = seal(out, clear, 1)
    first = opener(pair)
    for place in range(len(wire)):
        buffer = bytearray(wire)
        buffer[place] ^= 1 << place % 8
        view = memoryview(buffer)
        # Made anew by its IV: an opener is of no use after an error.
        into = opener(pair, iv=first.current_iv())
        into.length(view, 0, 1)
        with pytest.raises(IntegrityError) as caught:
            into.open(view, 0, len(clear), 1)
        assert caught.value.reason is DisconnectReason.MAC_ERROR
        assert str(caught.value) == "corrupted MAC on input"
        if not into.length_aligned:
            assert clear[4:12] not in buffer, "nothing unverified is left to be read"


@pytest.mark.parametrize(
    "pair",
    [
        pair
        for pair in PAIRS
        if label(pair) in {"chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com"}
    ],
    ids=label,
)
def test_r028_every_bit_of_a_packet_counts(pair: Pair) -> None:
    out = sealer(pair)
    clear = packet(5, out)
    wire = seal(out, clear, 1)
    for bit in range(len(wire) * 8):
        buffer = bytearray(wire)
        buffer[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            opener(pair).open(memoryview(buffer), 0, len(clear), 1)


@every_pair
def test_case_046_a_packet_does_not_open_twice(pair: Pair) -> None:
    out, into = sealer(pair), opener(pair)
    wire = seal(out, packet(5, out), 0)
    open_(into, wire, 0)
    with pytest.raises(IntegrityError):
        _force(into, wire, 1)


@every_pair
def test_case_047_packets_do_not_open_out_of_order(pair: Pair) -> None:
    out, into = sealer(pair), opener(pair)
    _, second = (seal(out, packet(5, out), sequence) for sequence in (0, 1))
    with pytest.raises(IntegrityError):
        _force(into, second, 0)


@every_pair
def test_case_050_a_tag_of_zeros_is_no_tag(pair: Pair) -> None:
    out, into = sealer(pair), opener(pair)
    wire = seal(out, packet(5, out), 0)
    with pytest.raises(IntegrityError):
        _force(into, wire[: -out.tag] + bytes(out.tag), 0)


def _force(into: object, wire: bytes, sequence: int) -> None:
    """Open at the length that it truly has, whatever it says."""
    buffer = bytearray(wire)
    view = memoryview(buffer)
    into.length(view, 0, sequence)  # type: ignore[attr-defined]
    into.open(view, 0, len(wire) - into.tag, sequence)  # type: ignore[attr-defined]


@every_pair
def test_the_sequence_number_counts_at_the_far_end_of_its_range(pair: Pair) -> None:
    out, into = sealer(pair), opener(pair)
    for sequence in (0xFFFFFFFE, 0xFFFFFFFF, 0):
        clear = packet(5, out)
        assert open_(into, seal(out, clear, sequence), sequence) == clear[4:]


def test_case_058_the_counter_of_gcm_is_the_last_eight_bytes_and_wraps() -> None:
    pair: Pair = (CIPHERS["aes128-gcm@openssh.com"], None)
    fixed = b"\xff\xff\xff\xff"
    out = sealer(pair, iv=fixed + b"\xff" * 8)
    into = opener(pair, iv=fixed + b"\xff" * 8)
    for sequence, counter in enumerate((0, 1, 2)):
        clear = packet(5, out)
        assert open_(into, seal(out, clear, sequence), sequence) == clear[4:]
        assert out.current_iv() == into.current_iv() == fixed + counter.to_bytes(8, "big")


def test_the_counter_of_ctr_wraps_over_all_its_bits() -> None:
    pair: Pair = (CIPHERS["aes256-ctr"], MACS["hmac-sha2-256"])
    out = sealer(pair, iv=b"\xff" * 16)
    clear = packet(20, out)
    first = seal(out, clear, 0)
    assert out.current_iv() == (len(clear) // 16 - 1).to_bytes(16, "big")
    assert open_(opener(pair, iv=b"\xff" * 16), first, 0) == clear[4:]


def test_r030_any_cipher_may_follow_any_other() -> None:
    """What one direction's keys leave behind does not touch the next keys' packets."""
    pairs = [pair for pair in PAIRS if pair[1] is None or pair[1].name.startswith("hmac-sha2-256")]
    buffer = bytearray(2000)
    view = memoryview(buffer)
    for before in pairs:
        for after in pairs:
            at, places = 0, []
            for sequence, pair in enumerate((before, after)):
                out = sealer(pair)
                clear = packet(33, out, fill=sequence)
                end = at + len(clear)
                view[at:end] = clear
                out.seal(view, at, end, sequence)
                places.append((pair, at, end, clear))
                at = end + out.tag
            for sequence, (pair, start, end, clear) in enumerate(places):
                into = opener(pair)
                assert into.length(view, start, sequence) == end - start - 4
                into.open(view, start, end, sequence)
                assert view[start + 4 : end] == clear[4:]


@settings(max_examples=60)
@given(
    pair=st.sampled_from(
        [pair for pair in PAIRS if pair[1] is None or "umac" not in pair[1].name]
    ),
    sizes=st.lists(st.integers(0, 700), min_size=1, max_size=5),
    offset=st.integers(0, 70),
    sequence=st.integers(0, 0xFFFFFFF0),
)
def test_any_sizes_at_any_place(pair: Pair, sizes: list[int], offset: int, sequence: int) -> None:
    out, into = sealer(pair), opener(pair)
    for number, size in enumerate(sizes):
        clear = packet(size, out)
        wire = seal(out, clear, sequence + number, offset=offset)
        assert open_(into, wire, sequence + number, offset=offset) == clear[4:]


def test_before_keys_a_packet_stays_as_it_is() -> None:
    clear = packet(20, CLEAR_SEALER)
    assert len(clear) % 8 == 0
    assert seal(CLEAR_SEALER, clear, 0) == clear
    assert open_(CLEAR_OPENER, clear, 0) == clear[4:]
    assert CLEAR_SEALER.current_iv() == CLEAR_OPENER.current_iv() == b""


def test_r031_a_cipher_that_only_hides_never_runs_alone() -> None:
    cipher = CIPHERS["aes128-ctr"]
    for make in (make_sealer, make_opener):
        with pytest.raises(UsageError, match="needs a MAC"):
            make(cipher, None, key=bytes(16), iv=bytes(16), mac_key=b"")


@pytest.mark.parametrize("wrong", ["key", "iv", "mac_key"])
def test_keys_have_their_exact_length(wrong: str) -> None:
    pair: Pair = (CIPHERS["aes128-ctr"], MACS["hmac-sha2-256"])
    for make in (make_sealer, make_opener):
        with pytest.raises(UsageError, match="takes"):
            make(*pair, **{**keys(pair), wrong: bytes(15)})


@every_pair
def test_without_anything_to_hide_poison_raises_at_once(pair: Pair) -> None:
    into = opener(pair)
    if not into.hides_length:
        with pytest.raises(IntegrityError):
            into.poison(memoryview(b""))


def test_aes_comes_first_where_the_processor_does_it() -> None:
    fast, slow = preferred_ciphers(has_aes=True), preferred_ciphers(has_aes=False)
    assert fast[0] == "aes128-gcm@openssh.com"
    assert slow[0] == "chacha20-poly1305@openssh.com"
    assert set(fast) == set(slow)
    assert fast[-3:] == slow[-3:] == ("aes128-ctr", "aes192-ctr", "aes256-ctr")


def test_r029_no_chaining_cipher_is_offered_unasked() -> None:
    assert not [name for name in preferred_ciphers(has_aes=True) if name.endswith("-cbc")]


def test_a_server_offers_only_macs_that_cover_the_ciphertext() -> None:
    assert SERVER_MACS == ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
    assert (*SERVER_MACS, "hmac-sha2-256", "hmac-sha2-512") == CLIENT_MACS


def test_all_macs_and_ciphers_of_openssh_are_here() -> None:
    macs = {
        f"{name}{suffix}"
        for name in ("sha2-256", "sha2-512", "sha1", "sha1-96", "md5", "md5-96")
        for suffix in ("", "-etm@openssh.com")
    }
    umacs = {f"umac-{bits}{form}@openssh.com" for bits in (64, 128) for form in ("", "-etm")}
    assert set(MACS.names()) == {f"hmac-{name}" for name in macs} | umacs
    assert set(CIPHERS.names()) == {
        "chacha20-poly1305@openssh.com",
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        *(f"aes{bits}-{mode}" for bits in (128, 192, 256) for mode in ("ctr", "cbc")),
        "3des-cbc",
    }
