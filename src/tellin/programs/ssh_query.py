# SPDX-License-Identifier: MIT
"""``ssh -Q``: what this ssh can do, one name a line."""

from collections.abc import Callable, Sequence
from typing import Final

from tellin.algorithms.ciphers import CIPHERS
from tellin.algorithms.compression import COMPRESSIONS
from tellin.algorithms.key_exchange import KEY_EXCHANGES
from tellin.algorithms.macs import MACS
from tellin.algorithms.signatures import SHOWN_KEYS, SIGNATURES, certified
from tellin.programs.command import Failure

_Names = Callable[[], Sequence[str]]


def _sealing_ciphers() -> Sequence[str]:
    return [row.name for row in CIPHERS if row.tag_size]


def _key_types() -> Sequence[str]:
    return list(dict.fromkeys(row.key_type for row in SIGNATURES))


def _certificate_types() -> Sequence[str]:
    return [certified(name) for name in _key_types()]


def _help() -> Sequence[str]:
    return list(_QUERIES)


_QUERIES: Final[dict[str, _Names]] = {
    "cipher": CIPHERS.names,
    "cipher-auth": _sealing_ciphers,
    "compression": COMPRESSIONS.names,
    "help": _help,
    "kex": KEY_EXCHANGES.names,
    "key": lambda: [*_key_types(), *_certificate_types()],
    "key-ca-sign": SIGNATURES.names,
    "key-cert": _certificate_types,
    "key-plain": _key_types,
    "key-sig": SHOWN_KEYS.names,
    "mac": MACS.names,
    "protocol-version": lambda: ["2"],
    "sig": SIGNATURES.names,
}
# Keywords whose values are such names.
_KEYWORDS: Final = {
    "ciphers": "cipher",
    "macs": "mac",
    "kexalgorithms": "kex",
    "casignaturealgorithms": "key-ca-sign",
    "hostkeyalgorithms": "key-sig",
    "pubkeyacceptedalgorithms": "key-sig",
    "pubkeyacceptedkeytypes": "key-sig",
}


def answer(query: str) -> int:
    """Print the names."""
    wanted = query.lower()
    names = _QUERIES.get(_KEYWORDS.get(wanted, wanted))
    if names is None:
        raise Failure(f'Unsupported query "{query}"')
    for name in names():
        print(name)
    return 0
