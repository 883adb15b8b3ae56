# SPDX-License-Identifier: MIT
"""ssh-keygen's calendar: times as people write them, by this machine's clock or in UTC."""

import calendar
import time
from typing import Final

from tellin.config.key_options import Expiry, read_expiry
from tellin.config.kinds import read_seconds
from tellin.errors import ConfigError
from tellin.keys.certificates import FOREVER, Certificate
from tellin.programs.command import Failure
from tellin.programs.keygen.settings import FATAL

# What the clock of the operating system can still show; certificates may name later times.
LATEST: Final = 67_767_976_233_446_399


def seconds_of(expiry: Expiry) -> float:
    """When a time of the calendar was or will be."""
    moment = (*expiry.moment, 0, 0, -1)
    try:
        return calendar.timegm(moment) if expiry.utc else time.mktime(moment)
    except (OverflowError, ValueError):
        raise ConfigError("a time that this machine cannot tell") from None


def text_of(seconds: float) -> str:
    """A time as messages show it, by this machine's clock."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(min(int(seconds), LATEST)))


def absolute(text: str) -> int:
    """``YYYYMMDD``, ``YYYYMMDDHHMM`` or ``YYYYMMDDHHMMSS``, with ``Z`` or ``UTC`` behind it or not."""
    if text.upper().endswith("UTC"):
        text = text[:-3] + "Z"
    elif text.endswith("z"):
        text = text[:-1] + "Z"
    return int(seconds_of(read_expiry(text)))


def interval(text: str) -> tuple[int, int]:
    """Beginning and end of ``-V``: ``+1w``, or two of relative, absolute, ``always``, ``forever``, ``0x``."""
    now = int(time.time())
    if text.startswith("+") and ":" not in text:
        # Somewhat earlier than now: the clocks of servers differ.
        return (now - 59) // 60 * 60, _relative(text, now, "life")
    begin, colon, end = text.partition(":")
    if not (begin and colon and end):
        raise Failure(f"Invalid certificate life specification {text}", status=FATAL)
    after = _moment(begin, now, word="always", value=0, name="from")
    before = _moment(end, now, word="forever", value=FOREVER, name="to")
    if before <= after:
        raise Failure("Empty certificate validity interval", status=FATAL)
    return after, before


def _moment(text: str, now: int, *, word: str, value: int, name: str) -> int:
    if text[0] in "+-":
        return _relative(text, now, "time")
    if text == word:
        return value
    if text.startswith("0x"):
        try:
            found = int(text, 16) if len(text) <= 18 else -1
        except ValueError:
            found = -1
        if found >= 0:
            return found
        raise Failure("Invalid certificate time: not a number", status=FATAL)
    try:
        return max(0, absolute(text))
    except ConfigError:
        raise Failure(f'Invalid {name} time "{text}"', status=FATAL) from None


def _relative(text: str, now: int, what: str) -> int:
    try:
        away = read_seconds(text[1:])
    except ConfigError:
        raise Failure(f"Invalid relative certificate {what} {text}", status=FATAL) from None
    return now + away if text[0] == "+" else max(0, now - away)


def validity(certificate: Certificate) -> str:
    """When a certificate holds, in words."""
    after, before = certificate.valid_after, certificate.valid_before
    if not after and before == FOREVER:
        return "forever"
    if not after:
        return f"before {text_of(before)}"
    if before == FOREVER:
        return f"after {text_of(after)}"
    return f"from {text_of(after)} to {text_of(before)}"
