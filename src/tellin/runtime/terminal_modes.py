# SPDX-License-Identifier: MIT
"""Terminal modes on the wire (RFC 4254 section 8, and IUTF8 of RFC 8160) and in termios."""

import termios
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final

Attributes = list[Any]
"""What termios.tcgetattr returns: four words of flags, two speeds, the list of special characters."""

END: Final = 0
# Opcodes 160-255 are not defined: parsing stops there.
_FIRST_UNDEFINED: Final = 160
INPUT_SPEED: Final = 128
OUTPUT_SPEED: Final = 129
# "Disabled" is 255 on the wire, and 0 here (_POSIX_VDISABLE of Linux).
_DISABLED_ON_WIRE: Final = 255
_DISABLED_HERE: Final = b"\0"


class Word(Enum):
    """Where a mode lives: the index in what tcgetattr returns."""

    INPUT = 0
    OUTPUT = 1
    CONTROL = 2
    LOCAL = 3
    CHARACTERS = 6


# Modes the system does not know (VDSUSP, VSTATUS on Linux) have no constant and are passed over.
_ROWS: Final[tuple[tuple[int, str, Word], ...]] = (
    (1, "VINTR", Word.CHARACTERS),
    (2, "VQUIT", Word.CHARACTERS),
    (3, "VERASE", Word.CHARACTERS),
    (4, "VKILL", Word.CHARACTERS),
    (5, "VEOF", Word.CHARACTERS),
    (6, "VEOL", Word.CHARACTERS),
    (7, "VEOL2", Word.CHARACTERS),
    (8, "VSTART", Word.CHARACTERS),
    (9, "VSTOP", Word.CHARACTERS),
    (10, "VSUSP", Word.CHARACTERS),
    (11, "VDSUSP", Word.CHARACTERS),
    (12, "VREPRINT", Word.CHARACTERS),
    (13, "VWERASE", Word.CHARACTERS),
    (14, "VLNEXT", Word.CHARACTERS),
    (15, "VFLUSH", Word.CHARACTERS),
    (16, "VSWTCH", Word.CHARACTERS),
    (17, "VSTATUS", Word.CHARACTERS),
    (18, "VDISCARD", Word.CHARACTERS),
    (30, "IGNPAR", Word.INPUT),
    (31, "PARMRK", Word.INPUT),
    (32, "INPCK", Word.INPUT),
    (33, "ISTRIP", Word.INPUT),
    (34, "INLCR", Word.INPUT),
    (35, "IGNCR", Word.INPUT),
    (36, "ICRNL", Word.INPUT),
    (37, "IUCLC", Word.INPUT),
    (38, "IXON", Word.INPUT),
    (39, "IXANY", Word.INPUT),
    (40, "IXOFF", Word.INPUT),
    (41, "IMAXBEL", Word.INPUT),
    (42, "IUTF8", Word.INPUT),
    (50, "ISIG", Word.LOCAL),
    (51, "ICANON", Word.LOCAL),
    (52, "XCASE", Word.LOCAL),
    (53, "ECHO", Word.LOCAL),
    (54, "ECHOE", Word.LOCAL),
    (55, "ECHOK", Word.LOCAL),
    (56, "ECHONL", Word.LOCAL),
    (57, "NOFLSH", Word.LOCAL),
    (58, "TOSTOP", Word.LOCAL),
    (59, "IEXTEN", Word.LOCAL),
    (60, "ECHOCTL", Word.LOCAL),
    (61, "ECHOKE", Word.LOCAL),
    (62, "PENDIN", Word.LOCAL),
    (70, "OPOST", Word.OUTPUT),
    (71, "OLCUC", Word.OUTPUT),
    (72, "ONLCR", Word.OUTPUT),
    (73, "OCRNL", Word.OUTPUT),
    (74, "ONOCR", Word.OUTPUT),
    (75, "ONLRET", Word.OUTPUT),
    (90, "CS7", Word.CONTROL),
    (91, "CS8", Word.CONTROL),
    (92, "PARENB", Word.CONTROL),
    (93, "PARODD", Word.CONTROL),
)
NAMES: Final[dict[int, str]] = {
    **{opcode: name for opcode, name, _ in _ROWS},
    INPUT_SPEED: "TTY_OP_ISPEED",
    OUTPUT_SPEED: "TTY_OP_OSPEED",
}
# Python 3.11 lacks the constant; Linux and the BSDs have the same number.
_LATER_CONSTANTS: Final = {"IUTF8": 0x4000}
# The size of a character is a field of the control word, not a bit each.
_SIZES: Final = ("CS7", "CS8")
_SPEED_OF: Final[dict[int, int]] = {
    value: int(name[1:])
    for name, value in vars(termios).items()
    if name[0] == "B" and name[1:].isdecimal()
}


def _known() -> Iterator[tuple[int, str, Word, int]]:
    for opcode, name, word in _ROWS:
        value = getattr(termios, name, _LATER_CONSTANTS.get(name))
        if value is not None:
            yield opcode, name, word, value


_KNOWN: Final = tuple(_known())


def encode(attributes: Attributes) -> bytes:
    """The modes of a terminal as pty-req carries them: an opcode and a number each, then the end."""
    parts = [
        _pair(OUTPUT_SPEED, _SPEED_OF.get(attributes[5], 0)),
        _pair(INPUT_SPEED, _SPEED_OF.get(attributes[4], 0)),
    ]
    for opcode, name, word, value in _KNOWN:
        field = attributes[word.value]
        if word is Word.CHARACTERS:
            character = field[value]
            number = character if isinstance(character, int) else character[0]
            number = number or _DISABLED_ON_WIRE
        elif name in _SIZES:
            number = int(field & termios.CSIZE == value)
        else:
            number = int(bool(field & value))
        parts.append(_pair(opcode, number))
    parts.append(bytes((END,)))
    return b"".join(parts)


def encode_pairs(modes: Mapping[int, int]) -> bytes:
    """Modes that do not come from a terminal here."""
    return b"".join(_pair(opcode, value) for opcode, value in modes.items()) + bytes((END,))


def _pair(opcode: int, value: int) -> bytes:
    return bytes((opcode,)) + value.to_bytes(4, "big")


def decode(data: bytes) -> dict[int, int]:
    """Opcode to number, up to the end, an undefined opcode or a cut-off number; never raises.

    The last of equal opcodes counts. Rubbish here costs the peer a setting, not the session.
    """
    modes: dict[int, int] = {}
    at = 0
    while at + 5 <= len(data) and END < data[at] < _FIRST_UNDEFINED:
        modes[data[at]] = int.from_bytes(data[at + 1 : at + 5], "big")
        at += 5
    return modes


def apply(attributes: Attributes, modes: Mapping[int, int]) -> Attributes:
    """New attributes with the modes set that this system knows; the rest stay as they were."""
    changed: Attributes = [*attributes[:6], list(attributes[6])]
    for opcode, name, word, value in _KNOWN:
        wanted = modes.get(opcode)
        if wanted is None:
            continue
        if word is Word.CHARACTERS:
            changed[6][value] = (
                _DISABLED_HERE if wanted == _DISABLED_ON_WIRE else bytes((wanted & 0xFF,))
            )
        elif name in _SIZES:
            if wanted:
                changed[2] = changed[2] & ~termios.CSIZE | value
        elif wanted:
            changed[word.value] |= value
        else:
            changed[word.value] &= ~value
    for opcode, index in ((INPUT_SPEED, 4), (OUTPUT_SPEED, 5)):
        code = _speed_code(modes.get(opcode, 0))
        if code is not None:
            changed[index] = code
    return changed


def _speed_code(speed: int) -> int | None:
    # 0 would hang the line up, and a speed the table lacks cannot be set.
    return (
        next((code for code, known in _SPEED_OF.items() if known == speed), None)
        if speed
        else None
    )
