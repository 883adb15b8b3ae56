# SPDX-License-Identifier: MIT
"""Which blocks hold whenever others do, and which can never hold, told from what they ask alone.

Nothing here is guessed: where a pattern may or may not say more than another, it does not cover it.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from tellin.config.linting.survey import HOST_LINE, Asked, Block
from tellin.config.patterns import (
    canonical_address,
    has_wildcard,
    match_address_list,
    match_pattern,
    match_pattern_list,
)

# Their patterns may be blocks of addresses.
_ADDRESSES: Final = frozenset({"address", "localaddress", "localnetwork"})
# They say the same of a pass over the files.
_LATER_PASS: Final = frozenset({"canonical", "final"})
# What a client knows from the start: a star fits whatever it is.
_ALWAYS_KNOWN: Final = frozenset({HOST_LINE, "host", "originalhost", "localuser"})
# Somebody may have two of them at a time.
_SEVERAL: Final = frozenset({"group", "localnetwork"})
# Whether the command of ``exec`` succeeds is nobody's to say, also the second time.
_UNFORESEEABLE: Final = frozenset({"exec"})


def is_universal(asked: Asked) -> bool:
    """Whether it holds for everybody."""
    if asked.name == "all":
        return not asked.negated
    return not asked.negated and asked.name in _ALWAYS_KNOWN and set(asked.patterns) == {"*"}


def for_everybody(blocks: Iterable[Block]) -> bool:
    """Whether what stands in these blocks is for every connection."""
    return all(
        block.asked is not None and all(is_universal(one) for one in block.asked)
        for block in blocks
    )


def covers(
    earlier: Sequence[Block], later: Sequence[Block], *, changing: Collection[str] = ()
) -> bool:
    """Whether ``earlier`` hold wherever ``later`` do.

    ``changing`` names what may be answered otherwise further down in the files, because these
    themselves change it: the same question twice proves nothing there.
    """
    if any(block.asked is None for block in (*earlier, *later)):
        return False
    # A block that is around both is one answer.
    shared = {(block.file, block.line) for block in later}
    wanted = [
        one
        for block in earlier
        if (block.file, block.line) not in shared
        for one in block.asked or ()
    ]
    given = [one for block in later for one in block.asked or ()]
    return all(
        is_universal(one)
        or (
            one.name not in changing
            and one.name not in _UNFORESEEABLE
            and any(_implied(one, other) for other in given)
        )
        for one in wanted
    )


def _implied(wanted: Asked, given: Asked) -> bool:
    """Whether ``wanted`` holds whenever ``given`` does."""
    if _same_kind(wanted.name) != _same_kind(given.name) or wanted.negated is not given.negated:
        return False
    if wanted.patterns == given.patterns:
        return True
    if wanted.negated:
        return list_covers(given.patterns, wanted.patterns, name=wanted.name)
    return list_covers(wanted.patterns, given.patterns, name=wanted.name)


def _same_kind(name: str) -> str:
    return "final" if name in _LATER_PASS else name


def list_covers(wide: Sequence[str], narrow: Sequence[str], *, name: str) -> bool:
    """Whether the pattern list ``wide`` fits whatever ``narrow`` fits."""
    left_out = [pattern[1:] for pattern in narrow if pattern.startswith("!")]
    for pattern in wide:
        if pattern.startswith("!"):
            if not any(_pattern_covers(out, pattern[1:], name) for out in left_out):
                return False
    fitting = [pattern for pattern in wide if not pattern.startswith("!")]
    return all(
        any(_pattern_covers(pattern, one, name) for pattern in fitting)
        for one in narrow
        if not one.startswith("!")
    )


def _pattern_covers(wide: str, narrow: str, name: str) -> bool:
    if wide == narrow:
        return True
    if name in _ADDRESSES and not has_wildcard(wide) and not has_wildcard(narrow):
        return _network_covers(wide, narrow)
    # Taken for a text, a star is met only by a star; a question mark would meet it as one character.
    return not ("?" in wide and "*" in narrow) and match_pattern(narrow, wide)


def _network_covers(wide: str, narrow: str) -> bool:
    from ipaddress import IPv4Network, ip_network  # noqa: PLC0415  (start-up time)

    try:
        outer, inner = (ip_network(_canonical(text)) for text in (wide, narrow))
    except ValueError:
        return False
    if isinstance(outer, IPv4Network):
        return isinstance(inner, IPv4Network) and inner.subnet_of(outer)
    return not isinstance(inner, IPv4Network) and inner.subnet_of(outer)


def _canonical(block: str) -> str:
    base, slash, bits = block.partition("/")
    return block if slash else canonical_address(base) or bits


def why_never(blocks: Sequence[Block], *, changing: Collection[str] = ()) -> str:
    """Why nobody is in all of these blocks, as the end of a sentence; empty if somebody may be.

    ``blocks`` are as in a statement, the innermost last: that is the one that is judged.
    """
    if not blocks or blocks[-1].asked is None:
        return ""
    own = blocks[-1].asked
    for asked in own:
        fault = _alone(asked)
        if fault:
            return fault
    for at, asked in enumerate(own):
        for other in own[:at]:
            if _exclude(asked, other) or _exclude(other, asked):
                return f"asks two things of the {_noun(asked.name)} that exclude each other"
    around = [one for block in blocks[:-1] for one in block.asked or ()]
    for asked in own:
        for other in around:
            if asked.name in changing:
                continue
            if _exclude(asked, other) or _exclude(other, asked):
                return f"excludes what the block around it asks of the {_noun(asked.name)}"
    return ""


def _noun(name: str) -> str:
    return {HOST_LINE: "host", "final": "pass", "canonical": "pass"}.get(name, name)


def _alone(asked: Asked) -> str:
    if asked.name == "all" and asked.negated:
        return "is never true"
    if asked.negated or not asked.patterns or asked.name == "exec":
        return ""
    fitting = [pattern for pattern in asked.patterns if not pattern.startswith("!")]
    if not fitting:
        return (
            f"says only which {_noun(asked.name)} is left out, and a negation alone fits nothing"
        )
    out = [pattern[1:] for pattern in asked.patterns if pattern.startswith("!")]
    if all(any(_pattern_covers(one, pattern, asked.name) for one in out) for pattern in fitting):
        return f"leaves out every {_noun(asked.name)} that it names"
    return ""


def _exclude(one: Asked, other: Asked) -> bool:
    """Whether the two never hold together; the caller asks both ways round."""
    if _same_kind(one.name) != _same_kind(other.name) or one.name in _UNFORESEEABLE:
        return False
    if one.negated is not other.negated:
        given, wanted = (one, other) if other.negated else (other, one)
        return list_covers(wanted.patterns, given.patterns, name=one.name)
    if one.negated or one.name in _SEVERAL or not one.patterns or any(map(_is_open, one.patterns)):
        return False
    # Every text that ``one`` may fit is known: none of them may fit the other. Some names are
    # compared without regard to case: here all are.
    match = match_address_list if one.name in _ADDRESSES else match_pattern_list
    patterns = [pattern.lower() for pattern in other.patterns]
    return not any(match(text.lower(), patterns) for text in one.patterns)


def _is_open(pattern: str) -> bool:
    return not pattern or pattern.startswith("!") or has_wildcard(pattern) or "/" in pattern
