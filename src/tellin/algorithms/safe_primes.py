# SPDX-License-Identifier: MIT
"""Primes p of which (p - 1) / 2 is prime too: the groups of RFC 4419, sieved and tested.

Nothing here is secret. Finding one of 3072 bits takes hours, which is why servers come with a file.
"""

from collections.abc import Callable, Iterator
from math import isqrt
from typing import Final

# The primes that the sieve takes out, and the numbers that it holds at a time.
_SMALL: Final = 1 << 20
_SPAN: Final = 1 << 20

Below = Callable[[int], int]
"""A random number from 0 on, below another."""


def small_primes(limit: int) -> list[int]:
    """The primes below ``limit``, without 2."""
    odd = bytearray(b"\1") * (limit // 2)  # of 2 * i + 1
    for i in range(1, isqrt(limit) // 2 + 1):
        if odd[i]:
            prime = 2 * i + 1
            start = prime * prime // 2
            odd[start::prime] = bytes(len(range(start, len(odd), prime)))
    return [2 * i + 1 for i in range(1, len(odd)) if odd[i]]


def candidates(first: int, *, limit: int = _SMALL) -> Iterator[int]:
    """Odd numbers q from ``first`` on such that neither q nor 2 q + 1 has a prime factor below ``limit``."""
    primes = small_primes(limit)
    base = first | 1
    while True:
        left = bytearray(b"\1") * _SPAN  # of base + 2 * i
        for prime in primes:
            half = (prime + 1) // 2  # the inverse of 2
            # q = 0, and 2 q + 1 = 0, modulo this prime.
            for residue in (0, (prime - 1) // 2):
                start = (residue - base) * half % prime
                # The prime itself is no multiple to take out.
                if base + 2 * start == prime or 2 * (base + 2 * start) + 1 == prime:
                    start += prime
                left[start::prime] = bytes(len(range(start, _SPAN, prime)))
        at = left.find(1)
        while at >= 0:
            yield base + 2 * at
            at = left.find(1, at + 1)
        base += 2 * _SPAN


def generator_of(prime: int) -> int:
    """A generator that a safe prime is known to have: 2 or 5, and 0 where that is not to be seen."""
    if prime % 24 == 11:
        return 2
    return 5 if prime % 10 in {3, 7} else 0


def is_prime(number: int, *, rounds: int, below: Below) -> bool:
    """The test of Miller and Rabin: wrong once in 4**rounds for the worst of numbers."""
    if number < 4 or number % 2 == 0:
        return number in {2, 3}
    odd = number - 1
    twos = (odd & -odd).bit_length() - 1
    odd >>= twos
    return all(_witness_passes(number, odd, twos, 2 + below(number - 3)) for _ in range(rounds))


def _witness_passes(number: int, odd: int, twos: int, witness: int) -> bool:
    power = pow(witness, odd, number)
    if power in {1, number - 1}:
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False
