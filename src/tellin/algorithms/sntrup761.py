# SPDX-License-Identifier: MIT
"""Streamlined NTRU Prime 761 (NTRU Prime, round 3, 2020): a key encapsulation on lattices, for RFC 9941.

A polynomial stands in one large integer, a coefficient in each slot of bits: Python's product of
two integers is then the product of two polynomials, and one operation works on all coefficients.

No index and no number of steps depends on a secret, and but for one exchange of two variables in
the inversions no branch does. Python's integers take no constant time all the same; what limits a
listener is that a key is made for one exchange, opens one ciphertext, and is forgotten.
"""

# What hmac.compare_digest is without its OpenSSL, which takes 5 ms to load and is needed nowhere else.
from _operator import _compare_digest as compare_digest
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from tellin.algorithms.hashing import digest

# Polynomials modulo x**P - x - 1, with coefficients modulo Q or modulo 3. The short ones have W
# coefficients that are 1 or -1, all others are 0.
_P: Final = 761
_Q: Final = 4591
_W: Final = 286
_HALF: Final = _Q // 2  # what is added to a coefficient from -HALF to HALF to write it down
_ROUNDED: Final = _HALF * 2 // 3 + 1  # so many multiples of 3 are in that range
_SMALL: Final = (_P + 3) // 4  # bytes for a polynomial modulo 3
_HASH: Final = 32

Random = Callable[[int], bytes]
# A polynomial modulo 3: the digits 0, 1, 2 stand for -1, 0, 1.
Digits = bytes


def _slots(bits: int, count: int, value: int = 1) -> int:
    """``value`` in each of ``count`` slots."""
    return ((1 << bits * count) - 1) // ((1 << bits) - 1) * value


# Products. A coefficient of one modulo Q stays below P * Q, and below 2**25 with what is added.

_WIDE: Final = Struct(f"<{_P}I")
_WIDE_ONES: Final = _slots(32, _P)
_WIDE_HALVES: Final = _slots(32, _P, _HALF)
_WIDE_LOW: Final = _slots(32, _P, 0xFFFFFFFF)
# A multiple of Q that lifts every coefficient above zero.
_WIDE_LIFT: Final = _slots(32, 2 * _P - 1, _P * _Q)
_NARROW: Final = Struct(f"<{_P}H")
_NARROW_LOW: Final = _slots(16, _P, 0xFFFF)


def _wide(values: Sequence[int]) -> int:
    return int.from_bytes(_WIDE.pack(*values), "little")


def _signed(digits: Digits) -> int:
    return _wide(digits) - _WIDE_ONES


def _product(field: int, small: int) -> tuple[int, ...]:
    """A product in slots of 32 bits: its coefficients, positive and not yet modulo Q."""
    product = field * small + _WIDE_LIFT
    high = product >> 32 * _P
    # x**P is x + 1.
    folded = (product & _WIDE_LOW) + high + (high << 32)
    return _WIDE.unpack(folded.to_bytes(4 * _P, "little"))


def _product_3(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    """A product of polynomials with coefficients from 0 to 2, not yet modulo 3."""
    first, second = (int.from_bytes(_NARROW.pack(*one), "little") for one in (left, right))
    product = first * second
    high = product >> 16 * _P
    folded = (product & _NARROW_LOW) + high + (high << 16)
    return _NARROW.unpack(folded.to_bytes(2 * _P, "little"))


# Inverses, by division steps (Bernstein and Yang, "Fast constant-time gcd computation and modular
# inversion", 2019). The two polynomials are read backwards; a step takes a multiple of one from the
# other so that the last coefficient becomes 0, and drops it. How many steps it takes is known.

_STEPS: Final = 2 * _P - 1


def inverse_3(digits: Digits) -> list[int] | None:
    """1/g modulo 3 with coefficients from 0 to 2, or None where g has no inverse.

    A polynomial is two integers, of the places where it is 1 and where it is -1. Above f and g
    in the same integers stand the factors of the input that they have come to hold.
    """
    above = _STEPS + _P + 1
    f_plus, f_minus = 1, 1 << _P | 1 << (_P - 1)
    g_plus = 1 << above | int(digits.translate(_WHERE_1), 2)
    g_minus = int(digits.translate(_WHERE_0), 2)
    delta = 1
    for _ in range(_STEPS):
        if delta > 0 and (g_plus | g_minus) & 1:
            delta = -delta
            f_plus, f_minus, g_plus, g_minus = g_plus, g_minus, f_plus, f_minus
        delta += 1
        # f ends in 1 or -1: added to g is f, or -f if they end alike, or nothing if g ends in 0.
        unlike = -((f_plus & g_minus | f_minus & g_plus) & 1)
        alike = -((f_plus & g_plus | f_minus & g_minus) & 1)
        plus = f_plus & unlike | f_minus & alike
        minus = f_minus & unlike | f_plus & alike
        changed = (g_plus | minus) ^ (g_minus | plus)
        g_plus, g_minus = (g_minus | minus) ^ changed, (g_plus | plus) ^ changed
        g_plus >>= 1
        g_minus >>= 1
    if delta:
        return None
    if f_minus & 1:
        f_plus, f_minus = f_minus, f_plus
    ones, minus_ones = (
        f"{part >> _P + 2 & (1 << _P) - 1:0{_P}b}".encode() for part in (f_plus, f_minus)
    )
    zero = ord("0")
    return [one - zero + 2 * (other - zero) for one, other in zip(ones, minus_ones, strict=True)]


_WHERE_1: Final = bytes.maketrans(b"\0\1\2", b"001")
_WHERE_0: Final = bytes.maketrans(b"\0\1\2", b"100")

# Modulo Q the steps are taken in blocks: a block looks at the last coefficients alone and finds four
# factors, by which the whole polynomials are multiplied then. In every slot stands a number of 36
# bits that is below 2**32: 34 products of a coefficient below 2.9 * Q and a factor below 1.1 * Q.
_BLOCK: Final = 16
_SLOT: Final = 36
_LAST: Final = (1 << _SLOT) - 1
# Montgomery's reduction of all slots at once: a multiple of Q makes the lower half of each 0.
_SHIFT: Final = 18
_FIT: Final = (1 << _SLOT * (_P + 1)) - 1
_LOWER: Final = _slots(_SLOT, _P + _BLOCK + 2, (1 << _SHIFT) - 1)
_FACTOR: Final = pow(_Q, (1 << _SHIFT - 2) - 1, 1 << _SHIFT) * ((1 << _SHIFT) - 1) % (1 << _SHIFT)


def _cleared(slots: int) -> int:
    """Equal modulo Q to 2**SHIFT times a number below it, plus Q, in each slot."""
    return slots + ((slots & _LOWER) * _FACTOR & _LOWER) * _Q


def _block(f: int, g: int, delta: int, steps: int) -> tuple[tuple[int, int, int, int], int]:
    """The factors that ``steps`` steps come to, scaled by x**steps, and the new delta."""
    low = (1 << _SLOT * steps) - 1
    first, second = _SLOT * 2 * _BLOCK, _SLOT * (3 * _BLOCK + 1)
    f = f & low | 1 << first
    g = g & low | 1 << second
    for _ in range(steps):
        f_last, g_last = (f & _LAST) % _Q, (g & _LAST) % _Q
        if delta > 0 and g_last:
            delta = -delta
            f, g, f_last, g_last = g, f, g_last, f_last
        delta += 1
        g = _cleared(g * f_last + f * (_Q - g_last)) >> _SLOT + _SHIFT
    down = _SLOT * steps
    kept = (1 << down + _SLOT) - 1
    factors = (
        f >> first - down & kept,
        f >> second - down & kept,
        g >> first - down & kept,
        g >> second - down & kept,
    )
    return factors, delta


def inverse_of_triple(digits: Digits) -> list[int]:
    """1/(3 f) modulo Q, coefficients from 0; every short polynomial has an inverse."""
    f = 1 | (_Q - 1) << _SLOT * (_P - 1) | (_Q - 1) << _SLOT * _P
    g = int("".join([_FIELD[digit] for digit in digits]), 16)
    v, r = 0, pow(3, _Q - 2, _Q)
    delta = 1
    for done in range(0, _STEPS, _BLOCK):
        steps = min(_BLOCK, _STEPS - done)
        (a, b, c, d), delta = _block(f, g, delta, steps)
        down = _SLOT * steps + _SHIFT
        f, g = _cleared(a * f + b * g) >> down, _cleared(c * f + d * g) >> down
        # Above the highest place that a factor has, there are multiples of Q.
        v, r = _cleared(a * v + b * r & _FIT) >> _SHIFT, _cleared(c * v + d * r & _FIT) >> _SHIFT
    scale = pow((f & _LAST) % _Q, _Q - 2, _Q)
    width = _SLOT // 4
    text = f"{(v & _FIT) >> _SLOT:0{width * _P}x}"
    return [int(text[at : at + width], 16) * scale % _Q for at in range(0, width * _P, width)]


_FIELD: Final = [f"{value % _Q:0{_SLOT // 4}x}" for value in (-1, 0, 1)]

# What stands on the wire: numbers below m, packed so that little room is wasted (section 3.1 of the
# submission). Neighbours are joined, low + m * high; what can be told of a pair in whole bytes is
# written, and the rests are joined again, until one is left.


class _Round:
    """One round of joining: ``count`` values below ``modulus``, the last of them below ``last``."""

    __slots__ = ("count", "last", "last_size", "modulus", "size")

    def __init__(self, count: int, modulus: int, last: int) -> None:
        self.count = count
        self.modulus = modulus
        self.last = last
        self.size = self.last_size = 0  # bytes that are written of a pair, and of the last one

    def join(self) -> "_Round":
        """Settle the sizes; the next round."""
        self.size, modulus = _spill(self.modulus * self.modulus)
        last = self.last
        # A value without a neighbour is passed on as it is.
        if not self.count % 2:
            self.last_size, last = _spill(self.modulus * last)
        return _Round((self.count + 1) // 2, modulus, last)


def _spill(modulus: int) -> tuple[int, int]:
    """How many bytes of a number below ``modulus`` are written, and what the rest is below."""
    size = 0
    while modulus >= 1 << 14:
        modulus = (modulus + 255) >> 8
        size += 1
    return size, modulus


class Packing:
    """How P numbers below ``modulus`` become bytes."""

    def __init__(self, modulus: int) -> None:
        self._rounds: list[_Round] = []
        now = _Round(_P, modulus, modulus)
        while now.count > 1:
            self._rounds.append(now)
            now = now.join()
        self._top = now.last
        self._top_size = ((self._top - 1).bit_length() + 7) // 8

    def encode(self, values: Sequence[int]) -> bytes:
        """The bytes of numbers in their range."""
        parts = []
        for row in self._rounds:
            modulus, size, last_size = row.modulus, row.size, row.last_size
            pairs = [low + modulus * high for low, high in zip(values[::2], values[1::2])]  # noqa: B905
            last = values[-1] if row.count % 2 else pairs.pop()
            parts += [_written(pairs, size), last.to_bytes(4, "little")[:last_size]]
            shift = 8 * size
            values = [*(pair >> shift for pair in pairs), last >> 8 * last_size]
        return b"".join([*parts, values[0].to_bytes(self._top_size, "little")])

    def decode(self, data: bytes) -> list[int]:
        """The numbers of any bytes of the right length, each below the modulus."""
        at = 0
        told = []
        for row in self._rounds:
            end = at + row.size * ((row.count - 1) // 2)
            told.append((_read(data[at:end], row.size), data[end : end + row.last_size]))
            at = end + row.last_size
        values = [int.from_bytes(data[at:], "little") % self._top]
        for row, (lows, last_low) in zip(reversed(self._rounds), reversed(told), strict=True):
            modulus, shift = row.modulus, 8 * row.size
            last = values.pop() << 8 * row.last_size | int.from_bytes(last_low, "little")
            pairs = [rest << shift | low for rest, low in zip(values, lows, strict=True)]
            values = [
                value for pair in pairs for value in (pair % modulus, pair // modulus % modulus)
            ]
            values += [last] if row.count % 2 else [last % modulus, last // modulus % row.last]
        return values


def _written(values: Sequence[int], size: int) -> bytes:
    shifts = range(0, 8 * size, 8)
    return bytes([value >> shift & 255 for value in values for shift in shifts])


def _read(data: bytes, size: int) -> Sequence[int]:
    if size == 1:
        return data
    return [low | high << 8 for low, high in zip(data[::2], data[1::2], strict=True)]


FIELD: Final = Packing(_Q)
ROUNDED: Final = Packing(_ROUNDED)


def encode_small(digits: Digits) -> bytes:
    """Four digits a byte."""
    padded = digits + bytes(-len(digits) % 4)
    return bytes(
        first | second << 2 | third << 4 | fourth << 6
        for first, second, third, fourth in zip(*(padded[at::4] for at in range(4)), strict=True)
    )


# The key encapsulation


def _hash(prefix: int, data: bytes) -> bytes:
    return digest("sha512", bytes((prefix,)) + data)[:_HASH]


def _draw_small(random: Random) -> Digits:
    """Any polynomial modulo 3."""
    return bytes([(word & 0x3FFFFFFF) * 3 >> 30 for word in _WIDE.unpack(random(4 * _P))])


def _draw_invertible(random: Random) -> tuple[Digits, list[int]]:
    """A polynomial that has an inverse modulo 3, which nearly every one has, and the inverse."""
    while True:
        small = _draw_small(random)
        inverse = inverse_3(small)
        if inverse is not None:
            return small, inverse


def _draw_short(random: Random) -> Digits:
    """Any short polynomial: W digits that are 0 or 2 and the rest 1, shuffled by sorting random numbers."""
    words = _WIDE.unpack(random(4 * _P))
    marked = [word & ~1 for word in words[:_W]] + [word & ~3 | 1 for word in words[_W:]]
    return bytes([word & 3 for word in sorted(marked)])


def _hide(digits: Digits, field: int, key_hash: bytes) -> tuple[bytes, bytes]:
    """The ciphertext that holds a short polynomial, and the hash of that polynomial."""
    # To the nearest multiple of 3: what is lost is the noise that hides it.
    rounded = [((value + _HALF) % _Q + 1) // 3 for value in _product(field, _signed(digits))]
    inner = _hash(3, encode_small(digits))
    return ROUNDED.encode(rounded) + _hash(2, inner + key_hash), inner


def _system() -> Random:
    from secrets import token_bytes  # noqa: PLC0415  (start-up time)

    return token_bytes


class Sntrup761:
    """The key encapsulation; ``random`` makes so many bytes, the system's source if nothing is said."""

    public_size = 1158
    ciphertext_size = 1039
    hash_name = "sha512"

    def __init__(self, random: Random | None = None) -> None:
        self._random = random or _system()

    def generate(self) -> "Sntrup761Key":
        """A fresh key; it takes some 10 ms, most of it for an inverse modulo Q."""
        return Sntrup761Key(self._random)

    def encapsulate(self, public: bytes) -> tuple[bytes, bytes]:
        """Secret and ciphertext for whoever holds the key of ``public``, whose length is right already.

        Every string of that length is a key: RFC 9941 section 3 asks for no other check.
        """
        field = _wide(FIELD.decode(public)) - _WIDE_HALVES
        ciphertext, inner = _hide(_draw_short(self._random), field, _hash(4, public))
        return _hash(1, inner + ciphertext), ciphertext


class Sntrup761Key:
    """A fresh key for one exchange."""

    def __init__(self, random: Random) -> None:
        small, self._inverse = _draw_invertible(random)
        short = _draw_short(random)
        self._short = _signed(short)
        product = _product(_wide(inverse_of_triple(short)), _signed(small))
        shifted = [(value + _HALF) % _Q for value in product]
        self._field = _wide(shifted) - _WIDE_HALVES
        self.public = FIELD.encode(shifted)
        self._key_hash = _hash(4, self.public)
        # What a forged ciphertext opens to: a secret that nobody else has.
        self._instead = random(_SMALL)

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The secret in a ciphertext of the right length; one of our own in a forged one."""
        rounded = _wide(ROUNDED.decode(ciphertext[:-_HASH])) * 3 - _WIDE_HALVES
        # Modulo 3 of what stands between -HALF and HALF, which is a multiple of 3.
        error = [(3 * value + _HALF) % _Q % 3 for value in _product(rounded, self._short)]
        opened = bytes([(value + 1) % 3 for value in _product_3(error, self._inverse)])
        # A polynomial that is not short is replaced, without a branch: which it was is a secret.
        keep = -(opened.count(1) == _P - _W)
        digits = bytes(
            [one & keep | other & ~keep for one, other in zip(opened, _FIRST_SHORT, strict=True)]
        )
        again, inner = _hide(digits, self._field, self._key_hash)
        same = compare_digest(again, ciphertext)
        inner = (_hash(3, self._instead), inner)[same]
        return _hash(same, inner + ciphertext)


_FIRST_SHORT: Final = b"\2" * _W + b"\1" * (_P - _W)
