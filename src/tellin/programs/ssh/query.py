# SPDX-License-Identifier: MIT
"""``ssh -Q``: what this ssh can do, one name a line."""

from collections.abc import Callable, Sequence
from typing import Final

from tellin.algorithms.ciphers import CIPHERS
from tellin.algorithms.compression import COMPRESSIONS
from tellin.algorithms.key_exchange import KEY_EXCHANGES
from tellin.algorithms.macs import MACS
from tellin.algorithms.signatures import SHOWN_KEYS, SIGNATURES, certified
from tellin.config.algorithm_lists import names_for
from tellin.config.keywords import Row
from tellin.config.ssh_config import SshConfig
from tellin.config.sshd_config import SshdConfig
from tellin.programs.command import Failure

_Names = Callable[[], Sequence[str]]


def _sealing_ciphers() -> Sequence[str]:
    return [row.name for row in CIPHERS if row.tag_size]


def _key_types() -> Sequence[str]:
    return list(dict.fromkeys(row.key_type for row in SIGNATURES))


def _certificate_types() -> Sequence[str]:
    return [certified(name) for name in _key_types()]


QUERIES: Final[dict[str, _Names]] = {
    "cipher": CIPHERS.names,
    "cipher-auth": _sealing_ciphers,
    "compression": COMPRESSIONS.names,
    "kex": KEY_EXCHANGES.names,
    "key": lambda: [*_key_types(), *_certificate_types()],
    "key-ca-sign": SIGNATURES.names,
    "key-cert": _certificate_types,
    "key-plain": _key_types,
    "key-sig": SHOWN_KEYS.names,
    "mac": MACS.names,
    "protocol-version": lambda: ["2"],
    "sig": SIGNATURES.names,
    "help": lambda: [name for name in QUERIES if name != "help"],
}


def names_of_keyword(keyword: str) -> Sequence[str] | None:
    """What the list of a keyword of either file may name; None for any other word."""
    for table in (SshConfig, SshdConfig):
        row = table.known.get(keyword.lower())
        if isinstance(row, Row):
            return names_for(row.attribute)
    return None


def answer(query: str) -> int:
    """Print the names."""
    # As OpenSSH has it: these as they are written, and keywords however they are.
    names = QUERIES[query]() if query in QUERIES else names_of_keyword(query)
    if names is None:
        raise Failure(f'Unsupported query "{query}"')
    for name in names:
        print(name)
    return 0
