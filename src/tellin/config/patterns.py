# SPDX-License-Identifier: MIT
"""Patterns of names and addresses: ``*`` and ``?``, comma lists with ``!``, and CIDR blocks."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from tellin.errors import ConfigError


def has_wildcard(pattern: str) -> bool:
    """Whether ``pattern`` can match more than its own text."""
    return "*" in pattern or "?" in pattern


def match_pattern(text: str, pattern: str) -> bool:
    """Whether all of ``text`` fits ``pattern``, in time linear in ``text``.

    Between two stars stands a piece of fixed length, and taking the leftmost place where it fits
    is always right; so nothing is ever tried twice, and a hostile pattern or text cannot make
    the match exponential (R123, CVE-2026-0967).
    """
    if pattern == text and not has_wildcard(pattern):
        return True
    first, *middle = pattern.split("*")
    if not middle:
        return len(text) == len(first) and "?" in first and _fits(text, first, 0)
    last = middle.pop()
    at, end = len(first), len(text) - len(last)
    if at > end or not _fits(text, first, 0) or not _fits(text, last, end):
        return False
    for piece in middle:
        if piece:
            at = _find(text, piece, at, end)
            if at < 0:
                return False
    return True


def _fits(text: str, piece: str, at: int) -> bool:
    """Whether ``piece``, whose only wildcard is ``?``, stands in ``text`` at ``at``."""
    if "?" not in piece:
        return text.startswith(piece, at)
    return all(
        wanted in ("?", found)
        for wanted, found in zip(piece, text[at : at + len(piece)], strict=True)
    )


def _find(text: str, piece: str, at: int, end: int) -> int:
    """Where the leftmost fit of ``piece`` in ``text[at:end]`` ends, or -1."""
    inner = piece.lstrip("?")
    at += len(piece) - len(inner)
    body = inner.rstrip("?")
    tail = len(inner) - len(body)
    if "?" not in body:
        found = text.find(body, at, end - tail)
        return -1 if found < 0 or at > end - tail else found + len(body) + tail
    # Shift-and: bit i of ``state`` says that the last i + 1 characters fit the start of the piece,
    # so each character of the text is looked at once.
    anything = sum(1 << place for place, wanted in enumerate(body) if wanted == "?")
    masks: dict[str, int] = {}
    for place, wanted in enumerate(body):
        if wanted != "?":
            masks[wanted] = masks.get(wanted, anything) | 1 << place
    state, done = 0, 1 << len(body) - 1
    for place in range(at, end - tail):
        state = (state << 1 | 1) & masks.get(text[place], anything)
        if state & done:
            return place + 1 + tail
    return -1


def match_pattern_list(text: str, patterns: str | Iterable[str], *, fold: bool = False) -> bool:
    """Whether a pattern of the list fits and no ``!`` pattern does; a negation alone never matches.

    ``fold`` lowers the patterns; the caller has lowered ``text``.
    """
    found = False
    for pattern in _items(patterns):
        wanted = pattern.lower() if fold else pattern
        if wanted.startswith("!"):
            if match_pattern(text, wanted[1:]):
                return False
        elif not found and match_pattern(text, wanted):
            found = True
    return found


def match_any(texts: Sequence[str], patterns: str | Iterable[str]) -> bool:
    """As ``match_pattern_list`` for several texts of equal standing, such as a user's groups."""
    items = list(_items(patterns))
    if any(match_pattern(text, item[1:]) for item in items if item[0] == "!" for text in texts):
        return False
    return any(match_pattern(text, item) for item in items if item[0] != "!" for text in texts)


def _items(patterns: str | Iterable[str]) -> Iterable[str]:
    """The single patterns of a comma list, or of several comma lists."""
    if isinstance(patterns, str):
        return [item for item in patterns.split(",") if item]
    return [item for words in patterns for item in words.split(",") if item]


# ``ipaddress`` takes longer to load than this whole room: only who has a block to compare pays,
# so the two functions that need it import it themselves.


def canonical_address(text: str) -> str:
    """An address in its one spelling: no scope, IPv4 out of its IPv6 wrapping; empty if it is none."""
    from ipaddress import IPv6Address, ip_address  # noqa: PLC0415  (start-up time)

    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


# ::ffff:0:0/96 holds IPv4 in its wrapping (RFC 4291 section 2.5.5.2).
_MAPPED: Final = 0xFFFF

_Number = tuple[int, int]
"""An address as the number of its family's version, and its own."""


@lru_cache(maxsize=16)
def _number(address: str) -> _Number | None:
    """An address, in whatever spelling, as a number: one peer is compared with many blocks."""
    from ipaddress import ip_address  # noqa: PLC0415  (start-up time)

    canonical = canonical_address(address)
    if not canonical:
        return None
    made = ip_address(canonical)
    return made.version, int(made)


class _Network:
    """A CIDR block, or the block of a single address."""

    __slots__ = ("_base", "_mask", "_version")

    def __init__(self, version: int, base: int, mask: int) -> None:
        self._version, self._base, self._mask = version, base, mask

    def holds(self, number: _Number | None) -> bool:
        return (
            number is not None
            and number[0] == self._version
            and number[1] & self._mask == self._base
        )


def _dotted(text: str) -> int | None:
    """An IPv4 address as a number: files of ten thousand blocks are mostly that, and ``ipaddress`` is slow."""
    octets = text.split(".")
    if len(octets) != 4 or not text.isascii():
        return None
    number = 0
    for octet in octets:
        # "010" is 8 to some and 10 to others: no address.
        if not octet.isdigit() or len(octet) > 3 or (octet[0] == "0" and octet != "0"):
            return None
        value = int(octet)
        if value > 255:
            return None
        number = number << 8 | value
    return number


def _address(text: str) -> tuple[int, int, int] | None:
    """An address as its family's version, its family's width in bits, and its number; None if it is none."""
    number = _dotted(text)
    if number is not None:
        return 4, 32, number
    from ipaddress import ip_address  # noqa: PLC0415  (start-up time)

    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return address.version, address.max_prefixlen, int(address)


def _network(block: str) -> _Network | None:
    """A CIDR block or a single address, or None for what may be a text pattern; raises ConfigError."""
    base, slash, bits = block.partition("/")
    found = _address(base)
    if found is None:
        if slash:
            raise ConfigError(f"{block[:80]!r} is not an address block")
        return None
    version, width, number = found
    if not slash:
        if version == 6 and number >> 32 == _MAPPED:
            version, number = 4, number & 0xFFFFFFFF
        return _Network(version, number, -1)
    if not (bits.isascii() and bits.isdigit()) or len(bits) > 3 or int(bits) > width:
        raise ConfigError(f"bad mask length in {block[:80]!r}")
    mask = (1 << width) - (1 << width - int(bits))
    if number & mask != number:
        raise ConfigError(
            f"bad address block {block[:80]!r}: it has bits behind its mask",
            hint="the bits after the mask must be zero, as in 192.0.2.0/24",
        )
    return _Network(version, number, mask)


def in_block(address: str, block: str) -> bool | None:
    """Whether an address (in any spelling, or empty) is in a CIDR block or equal to a single one.

    None says that ``block`` is neither and may be a text pattern; a broken mask raises ConfigError.
    """
    network = _network(block)
    return None if network is None else network.holds(_number(address))


class AddressList:
    """A list of addresses, CIDR blocks and text patterns, read once for who asks it often.

    Raises ConfigError for an item that is a broken block rather than a pattern.
    """

    __slots__ = ("_items",)

    def __init__(self, patterns: str | Iterable[str]) -> None:
        self._items: list[tuple[bool, str, _Network | None]] = []
        for item in _items(patterns):
            text = item.lower().removeprefix("!")
            network = None if has_wildcard(text) and "/" not in text else _network(text)
            self._items.append((item.startswith("!"), text, network))

    def fits(self, address: str) -> bool:
        """Whether an address is in the list; a negation that fits wins."""
        if not address:
            return False
        found = False
        lowered = address.lower()
        number = _number(lowered)
        for negated, text, network in self._items:
            fits = network.holds(number) if network is not None else _fits_text(lowered, text)
            if fits and negated:
                return False
            found = found or fits
        return found


def check_address_list(patterns: str | Iterable[str]) -> None:
    """Raise ConfigError for an item that is a broken block rather than a pattern."""
    for item in _items(patterns):
        if "/" in item:
            in_block("", item.removeprefix("!"))


def _address_fits(address: str, pattern: str) -> bool:
    """Whether one address stands in a block, is the same address, or fits a text pattern."""
    if not has_wildcard(pattern):
        inside = in_block(address, pattern)
        if inside is not None:
            return inside
    return _fits_text(address, pattern)


def _fits_text(address: str, pattern: str) -> bool:
    return match_pattern(address, pattern) or match_pattern(canonical_address(address), pattern)


def match_address_list(address: str, patterns: str | Iterable[str]) -> bool:
    """As ``match_pattern_list`` for an address, with CIDR blocks beside the patterns."""
    return match_host_list("", address, patterns)


def match_host_list(host: str, address: str, patterns: str | Iterable[str]) -> bool:
    """Whether a peer's name or its address is in the list; a negation that fits either wins.

    A missing name or address is given as an empty text and matches nothing.
    """
    name = host.lower()
    found = False
    for pattern in _items(patterns):
        wanted = pattern.lower().removeprefix("!")
        fits = bool(name and match_pattern(name, wanted)) or bool(
            address and _address_fits(address.lower(), wanted)
        )
        if fits and pattern.startswith("!"):
            return False
        found = found or fits
    return found


def match_user(user: str, host: str, address: str, pattern: str) -> bool:
    """A ``user`` or ``user@host`` pattern of AllowUsers and DenyUsers."""
    name, at, place = pattern.rpartition("@")
    if not at:
        return match_pattern(user, pattern)
    return match_pattern(user, name) and match_host_list(host, address, place)
