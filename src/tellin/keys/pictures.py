# SPDX-License-Identifier: MIT
"""A picture of a key's hash, so that an eye that knows it notices another (the drunken bishop)."""

from typing import Final

from tellin.keys.fingerprints import digest
from tellin.keys.public import PublicKey

_WIDTH: Final = 17
_HEIGHT: Final = 9
# How often a square was visited, from never to very often; then the start and the end.
_MARKS: Final = " .o+=*BOX@%&#/^"
_START: Final = "S"
_END: Final = "E"


def randomart(key: PublicKey, hash_name: str = "sha256", *, kind: str = "") -> str:
    """The picture in its frame, eleven lines, equal to that of ``ssh-keygen -lv``.

    ``kind`` stands in the frame in place of the key's own, for a certificate.
    """
    visits = [[0] * _WIDTH for _ in range(_HEIGHT)]
    x, y = _WIDTH // 2, _HEIGHT // 2
    for byte in digest(key.blob, hash_name):
        for shift in (0, 2, 4, 6):
            move = byte >> shift
            # A bishop moves diagonally; at a wall it slides along.
            x = min(max(x + (1 if move & 1 else -1), 0), _WIDTH - 1)
            y = min(max(y + (1 if move & 2 else -1), 0), _HEIGHT - 1)
            visits[y][x] = min(visits[y][x] + 1, len(_MARKS) - 1)
    squares = [[_MARKS[count] for count in row] for row in visits]
    squares[_HEIGHT // 2][_WIDTH // 2] = _START
    squares[y][x] = _END
    title = f"[{kind or key.kind} {key.bits}]"
    if len(title) > _WIDTH:
        title = f"[{kind or key.kind}]"
    lines = [_edge(title), *("|" + "".join(row) + "|" for row in squares)]
    return "\n".join([*lines, _edge(f"[{hash_name.upper()}]")])


def _edge(title: str) -> str:
    before = "-" * ((_WIDTH - len(title)) // 2)
    return "+" + (before + title).ljust(_WIDTH, "-") + "+"
