# SPDX-License-Identifier: MIT
"""What the command lines of sftp and scp have in common: words for ssh, numbers and sizes."""

from typing import Final

from tellin.programs.command import Failure
from tellin.wire import Record

# What goes on to ssh as it stands.
FLAGS_FOR_SSH: Final = "46C"
VALUES_FOR_SSH: Final = "cFiJo"
_MOST_KILOBITS: Final = 100 * 1024 * 1024
_MOST_REQUESTS: Final = 1 << 16
_MOST_BLOCK: Final = 255 * 1024
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Tuning(Record):
    """What -X, -B and -R say of the requests; 0 leaves it to the link."""

    requests: int = 0
    block: int = 0


def kilobits_of(word: str) -> int:
    """The limit that -l gives; 0 if it is none."""
    number = int(word) if word.isascii() and word.isdigit() and len(word) < 12 else 0
    return number if 1 <= number <= _MOST_KILOBITS else 0


def requests_of(word: str) -> int:
    """How many requests may be on their way; raises Failure."""
    fault = _number_fault(word, _MOST_REQUESTS)
    if fault:
        raise Failure(f'Invalid number of requests "{word[:80]}": {fault}')
    return int(word)


def _number_fault(word: str, most: int) -> str:
    if not word.isascii() or not word.isdigit() or len(word) > 12:
        return "invalid"
    return "too small" if int(word) < 1 else "too large" if int(word) > most else ""


def block_size(word: str) -> int:
    """How large a request is, perhaps with K, M or G behind it; raises Failure."""
    digits = word.rstrip("kKmMgG")
    unit = word[len(digits) :].lower()
    if not digits.isascii() or not digits.isdigit() or len(digits) > 12 or unit not in _UNITS:
        raise Failure(f'Invalid buffer size "{word[:80]}"')
    size = int(digits) * _UNITS[unit]
    if not 1 <= size <= _MOST_BLOCK:
        raise Failure(f'Invalid buffer size "{word[:80]}": it is from 1 to {_MOST_BLOCK}')
    return size


def tune(tuning: Tuning, word: str) -> None:
    """Take one -X option; raises Failure."""
    name, _, value = word.partition("=")
    match name.strip().lower():
        case "nrequests":
            tuning.requests = requests_of(value.strip())
        case "buffer":
            tuning.block = block_size(value.strip())
        case _:
            raise Failure("Invalid -X option")
