# SPDX-License-Identifier: MIT
"""From the algorithm lists of a configuration to names that can be offered (R114).

This module alone of the room imports the algorithms, which take longer to load than all the rest
of it: whoever only reads a file does without. What is offered where a file says nothing is each
side's own: `tellin.client.offer` and `tellin.server.settings` bring it.
"""

from collections.abc import Iterable
from typing import Any, Final, TypeVar

from tellin.algorithms.ciphers import CIPHERS
from tellin.algorithms.key_exchange import KEY_EXCHANGES, STRICT_KEY_EXCHANGES
from tellin.algorithms.macs import MACS
from tellin.algorithms.registry import Registry
from tellin.algorithms.signatures import SHOWN_KEYS, SIGNATURES
from tellin.config.keywords import KeywordFile
from tellin.config.patterns import match_pattern
from tellin.config.reading import NamedAlgorithms
from tellin.errors import ConfigError
from tellin.wire import Record

# Names that OpenSSH knows or knew and that may stand in a user's file for other programs' sake: a
# client passes over those that are not in its tables, or a login would fail over a name that
# nobody needs. A server refuses them.
_ELSEWHERE: Final = (
    "ssh-dss",
    "*-cert-v0?@openssh.com",
    "gss-*",
)

# The keywords of both tables that hold such lists: the field of AlgorithmLists, and the names.
_LISTS: Final[dict[str, tuple[str, Registry[Any]]]] = {
    "kex_algorithms": ("key_exchanges", KEY_EXCHANGES),
    "host_key_algorithms": ("host_keys", SHOWN_KEYS),
    "ciphers": ("ciphers", CIPHERS),
    "macs": ("macs", MACS),
    "pubkey_accepted_algorithms": ("user_keys", SHOWN_KEYS),
    "ca_signature_algorithms": ("authorities", SIGNATURES),
    "hostbased_accepted_algorithms": ("hosts", SHOWN_KEYS),
}

C = TypeVar("C", bound=KeywordFile)


class AlgorithmLists(Record):
    """What to offer, best first; the names are those of `tellin.transport.negotiation.Preferences`."""

    key_exchanges: tuple[str, ...]
    host_keys: tuple[str, ...]
    ciphers: tuple[str, ...]
    macs: tuple[str, ...]
    compressions: tuple[str, ...]
    user_keys: tuple[str, ...]
    """The signature algorithms of users' keys."""
    authorities: tuple[str, ...]
    """What authorities may sign certificates by."""
    hosts: tuple[str, ...]
    """The signature algorithms of hosts that vouch for their users."""


def select(config: KeywordFile, defaults: AlgorithmLists, *, lenient: bool) -> AlgorithmLists:
    """``defaults`` as the configuration changes them.

    Raises ConfigError, with file and line, for an unknown name; ``lenient`` passes over the names
    that other programs have.
    """
    made = AlgorithmLists(**vars(defaults))
    for attribute, (field, _) in _LISTS.items():
        setattr(
            made,
            field,
            select_one(config, attribute, getattr(defaults, field), lenient=lenient),
        )
    return made


def select_one(
    config: KeywordFile, attribute: str, default: tuple[str, ...], *, lenient: bool
) -> tuple[str, ...]:
    """One list of ``select``: that of the keyword whose value is ``attribute``."""
    _, registry = _LISTS[attribute]
    profile: str = getattr(config, "security_profile", "default")
    strict = profile == "strict" and attribute == "kex_algorithms"
    if strict:
        default = STRICT_KEY_EXCHANGES
    spec: str = getattr(config, attribute)
    try:
        if lenient:
            spec = _without_elsewhere(spec, registry)
        chosen = registry.select(spec, default) if spec else default
        if strict:
            chosen = _post_quantum(chosen)
    except ConfigError as fault:
        spelling = config.rows[attribute].spelling
        raise _placed(fault, spelling, config.origin(attribute)) from None
    return chosen


def check_known(config: KeywordFile, lines: Iterable[NamedAlgorithms]) -> None:
    """Refuse, with file and line, a name that no program has, in whatever block of a client's file (R114)."""
    for said in lines:
        # What is left of a list matters only to the host that it is for.
        if all(map(_is_elsewhere, said.spec.lstrip("+-^").split(","))):
            continue
        try:
            named(said.attribute, said.spec, lenient=True)
        except ConfigError as fault:
            spelling = config.rows[said.attribute].spelling
            raise _placed(fault, spelling, (said.file, said.line)) from None


def _placed(fault: ConfigError, spelling: str, origin: tuple[str, int]) -> ConfigError:
    file, line = origin
    message = f"{spelling}: {fault}"
    return ConfigError(message, file=file, line=line, keyword=spelling, hint=fault.hint)


def names_for(attribute: str) -> tuple[str, ...] | None:
    """Every name that a keyword's list may hold; None if the keyword has no such list."""
    found = _LISTS.get(attribute)
    return None if found is None else found[1].names()


def named(attribute: str, spec: str, *, lenient: bool) -> tuple[str, ...]:
    """The names that one list brings in, whatever it starts from; raises ConfigError without a place."""
    _, registry = _LISTS[attribute]
    if lenient:
        spec = _without_elsewhere(spec, registry)
    if not spec:
        return ()
    # What is taken out need not be there; that it leaves nothing is the whole list's affair.
    if spec[0] == "-":
        if "" in spec[1:].split(","):
            raise ConfigError(f"an empty name in the {registry.kind} list {spec!r}")
        return ()
    return registry.select(spec[1:] if spec[0] in "+^" else spec)


def with_lists(config: C, lists: AlgorithmLists) -> C:
    """The same values with every list written out, as ``-G`` and ``-T`` show them."""
    return config.replaced(
        **{attribute: ",".join(getattr(lists, field)) for attribute, (field, _) in _LISTS.items()}
    )


def _post_quantum(names: tuple[str, ...]) -> tuple[str, ...]:
    kept = tuple(name for name in names if KEY_EXCHANGES[name].post_quantum)
    if not kept:
        raise ConfigError("SecurityProfile strict leaves none of them")
    return kept


def _without_elsewhere(spec: str, registry: Registry[Any]) -> str:
    """``spec`` without the names that only other programs have; empty if it then changes nothing."""
    sign, listed = (spec[0], spec[1:]) if spec[:1] in {"+", "-", "^"} else ("", spec)
    names = listed.split(",")
    kept = [name for name in names if name in registry or not _is_elsewhere(name)]
    if spec and not kept and not sign:
        raise ConfigError(f"none of {spec[:200]!a} is supported")
    return sign + ",".join(kept) if kept else ""


def _is_elsewhere(name: str) -> bool:
    return any(match_pattern(name, pattern) for pattern in _ELSEWHERE)
