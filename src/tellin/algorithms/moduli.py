# SPDX-License-Identifier: MIT
"""The groups a server picks from for group exchange: the moduli file (moduli(5), RFC 4419 section 3)."""

from collections.abc import Callable, Iterable
from typing import Final, Self

from tellin.errors import KeyExchangeFailed

_LEAST_BITS: Final = 2048  # RFC 8270
_MOST_BITS: Final = 16384
_FIELDS: Final = 7
_SAFE_PRIME: Final = "2"
_COMPOSITE: Final = 1
_HEXADECIMAL: Final = frozenset("0123456789abcdefABCDEF")
_LINE_CHARACTERS: Final = 8192
_NUMBER_CHARACTERS: Final = 12
_PROBLEMS_KEPT: Final = 20


class Moduli:
    """Groups by size; ``problems`` says which lines could not be used, the first few of them."""

    def __init__(
        self, groups: dict[int, list[tuple[int, int]]], problems: tuple[str, ...] = ()
    ) -> None:
        self.groups = groups
        self.problems = problems

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a moduli file. It never fails: a line that cannot be used is left out and told of."""
        groups: dict[int, list[tuple[int, int]]] = {}
        problems: list[str] = []
        for number, raw in enumerate(text.splitlines(), 1):
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            try:
                generator, prime = _group(line)
            except ValueError as error:
                if len(problems) < _PROBLEMS_KEPT:
                    problems.append(f"line {number}: {error}")
                continue
            groups.setdefault(prime.bit_length(), []).append((generator, prime))
        return cls(groups, tuple(problems))

    def choose(
        self,
        minimum: int,
        preferred: int,
        maximum: int,
        pick: Callable[[int], int] | None = None,
    ) -> tuple[int, int]:
        """Generator and prime: the smallest group not below ``preferred``, else the next below it.

        ``pick(n)`` draws a number below n, at random if not given. A server without a file falls
        back on the fixed groups. Raises KeyExchangeFailed where nothing lies in the bounds.
        """
        size = _nearest(self.groups, minimum, preferred, maximum)
        if size:
            candidates = self.groups[size]
        else:
            # Here, since the arithmetic of groups is loaded with the first method that needs it.
            from tellin.algorithms.finite_field import (  # noqa: PLC0415  (start-up time)
                FIXED_GENERATOR,
                FIXED_SIZES,
                fixed_prime,
            )

            size = _nearest(FIXED_SIZES, minimum, preferred, maximum)
            if not size:
                raise KeyExchangeFailed(f"no group of {minimum} to {maximum} bits")
            candidates = [(FIXED_GENERATOR, fixed_prime(size))]
        if pick is None:
            from secrets import randbelow  # noqa: PLC0415  (start-up time)

            pick = randbelow
        return candidates[pick(len(candidates))]


def _nearest(sizes: Iterable[int], minimum: int, preferred: int, maximum: int) -> int:
    """The size in the bounds that suits best, or 0."""
    fitting = sorted(size for size in sizes if minimum <= size <= maximum)
    return next((size for size in fitting if size >= preferred), fitting[-1] if fitting else 0)


def _number(field: str) -> int:
    if len(field) > _NUMBER_CHARACTERS or not (field.isascii() and field.isdigit()):
        raise ValueError(f"{field[:_NUMBER_CHARACTERS]!r} is not a number")
    return int(field)


def _hexadecimal(field: str) -> int:
    # int() would also take signs, prefixes and underscores, which no moduli file holds.
    if not _HEXADECIMAL.issuperset(field):
        raise ValueError("a group that is not in hexadecimal")
    return int(field, 16)


def _group(line: str) -> tuple[int, int]:
    """Generator and prime of one line; raises ValueError with the reason."""
    fields = line.split()
    if len(line) > _LINE_CHARACTERS or len(fields) != _FIELDS:
        raise ValueError("not the seven fields of a moduli line")
    _, kind, tests, tries, size = fields[:5]
    if kind != _SAFE_PRIME:
        raise ValueError("not a safe prime")
    if _number(tests) & _COMPOSITE or not _number(tests) & ~_COMPOSITE or not _number(tries):
        raise ValueError("not tested for being a prime")
    generator, prime = _hexadecimal(fields[5]), _hexadecimal(fields[6])
    bits = prime.bit_length()
    # The file gives the size less one.
    if bits != _number(size) + 1:
        raise ValueError(f"a modulus of {bits} bits where another size is announced")
    if not _LEAST_BITS <= bits <= _MOST_BITS:
        raise ValueError(f"a modulus of {bits} bits")
    if not prime & 1 or not 1 < generator < prime - 1:
        raise ValueError("a modulus or generator that makes no group")
    return generator, prime
