# SPDX-License-Identifier: MIT
"""What this machine can do: whether AES is cheap, and how many cores there are."""

import os
from functools import cache
from typing import Final

_CPU_LIST: Final = "/proc/cpuinfo"
# Every core repeats the same list: the first one is enough, and it stands in the first page or two.
_FIRST_CORE: Final = 8192
# x86 says "flags", ARM "Features", POWER and s390 have it in all that are still in use.
_FLAG_LINES: Final = (b"flags", b"Features", b"features")


@cache
def has_aes() -> bool:
    """Whether the processor has AES instructions; without them ChaCha20 is the faster choice.

    Where this cannot be found out the answer is yes: a wrong yes costs speed, never safety.
    """
    try:
        fd = os.open(_CPU_LIST, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        text = os.read(fd, _FIRST_CORE)
    finally:
        os.close(fd)
    return _lists_aes(text)


def _lists_aes(text: bytes) -> bool:
    for line in text.splitlines():
        if line.startswith(_FLAG_LINES):
            return b"aes" in line.partition(b":")[2].split()
    return True


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))
