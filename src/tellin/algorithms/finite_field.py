# SPDX-License-Identifier: MIT
"""Diffie-Hellman modulo a prime (RFC 4253 section 8, RFC 4419, RFC 8268): groups, checks, secrets."""

from functools import cache
from typing import Final

from tellin.errors import KeyExchangeFailed
from tellin.wire import mpint

# Twice the 256 bits of the longest key there is (RFC 4419 section 6.2); more costs time for nothing.
_EXPONENT_BITS: Final = 512
# A public value with hardly a bit set comes from an exponent that anybody can guess (R039).
_LEAST_BITS_SET: Final = 4

# RFC 2409 section 6.2 and RFC 3526: each prime is 2^n - 2^(n-64) - 1 + 2^64 * ([2^(n-130) pi] + k)
# with the smallest k that makes (p - 1) / 2 a prime too; the digits of pi show that nobody chose it.
_OFFSETS: Final = {1024: 129093, 2048: 124476, 4096: 240904, 8192: 4743158}
FIXED_SIZES: Final = (2048, 4096, 8192)
FIXED_GENERATOR: Final = 2


def _pi(bits: int) -> int:
    """[2^bits pi], by Machin's formula."""
    guard = 32

    def inverse_tangent(of: int) -> int:
        power = total = (1 << (bits + guard)) // of
        divisor = 1
        sign = -1
        while power:
            power //= of * of
            divisor += 2
            total += sign * (power // divisor)
            sign = -sign
        return total

    return (16 * inverse_tangent(5) - 4 * inverse_tangent(239)) >> guard


@cache
def fixed_prime(bits: int) -> int:
    """The prime of the second Oakley group (1024 bits), or of group 14, 16 or 18 (2048, 4096, 8192)."""
    return (1 << bits) - (1 << (bits - 64)) - 1 + ((_pi(bits - 130) + _OFFSETS[bits]) << 64)


def check_group(prime: int, generator: int, minimum: int, maximum: int) -> None:
    """Whether a group that the server picked is one to compute in (R041); raises KeyExchangeFailed."""
    bits = prime.bit_length()
    if prime < 0 or not minimum <= bits <= maximum:
        raise KeyExchangeFailed(
            f"a group of {bits} bits where {minimum} to {maximum} were asked for"
        )
    if not prime & 1:
        raise KeyExchangeFailed("the modulus of the group is even")
    if not 1 < generator < prime - 1:
        raise KeyExchangeFailed("the generator of the group generates next to nothing")


def check_public(value: int, prime: int) -> None:
    """Whether ``value`` may be raised to our exponent (R039); raises KeyExchangeFailed."""
    # 0, 1 and p - 1 make a secret that everybody knows; what is past p is another spelling of them.
    if not 1 < value < prime - 1 or value.bit_count() < _LEAST_BITS_SET:
        raise KeyExchangeFailed("the peer's Diffie-Hellman value is out of range")


def draw_exponent(prime: int) -> int:
    """A fresh private exponent for a group."""
    from secrets import randbits  # noqa: PLC0415  (start-up time)

    bits = min(_EXPONENT_BITS, prime.bit_length() - 2)
    return randbits(bits - 1) | 1 << (bits - 1)


class FiniteFieldInitiator:
    """One side's private exponent and what follows from it; both sides are alike."""

    def __init__(self, prime: int, generator: int, exponent: int) -> None:
        self.bits = prime.bit_length()
        self._prime = prime
        self._exponent = exponent
        # Python's own power: PyCA's dh tests the prime of each group that it does not know (0.3 s
        # at 2048 bits, 36 s at 8192, where this takes 5 and 90 ms) and has been announced to go.
        # It is no constant-time power, but no exponent is used more than once on each side.
        self.public = pow(generator, exponent, prime)
        # A sound group never gives this; an unsound one would have us send a value that tells all.
        check_public(self.public, prime)

    def finish(self, peer_public: int) -> bytes:
        """The shared secret as it is hashed; raises KeyExchangeFailed."""
        check_public(peer_public, self._prime)
        secret = pow(peer_public, self._exponent, self._prime)
        if not 1 < secret < self._prime - 1:
            raise KeyExchangeFailed("the shared secret is one that everybody knows")
        return mpint(secret)


class FiniteField:
    """Diffie-Hellman in the fixed group of ``bits`` bits, or (0) in one that the server picks."""

    def __init__(self, bits: int) -> None:
        self._bits = bits

    def start(self, *group: int) -> FiniteFieldInitiator:
        """The client's half; ``group`` is prime and generator where the server picks them."""
        prime, generator = group or (fixed_prime(self._bits), FIXED_GENERATOR)
        return FiniteFieldInitiator(prime, generator, draw_exponent(prime))

    def respond(self, peer_public: int, *group: int) -> tuple[int, bytes]:
        """The server's half: its public value and the secret."""
        prime = group[0] if group else fixed_prime(self._bits)
        # Before any power is computed for a stranger (R038).
        check_public(peer_public, prime)
        ours = self.start(*group)
        return ours.public, ours.finish(peer_public)
