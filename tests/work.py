# SPDX-License-Identifier: MIT
"""How much work something is, told by what it calls: the same on every machine, and under any load."""

import cProfile
from collections.abc import Callable


def work(act: Callable[[], object]) -> int:
    """The number of calls, of functions in Python and in C, that ``act`` makes.

    What grows too fast with its input shows here as it does on a clock, and nowhere by chance. Seconds
    are for ``make bench``.
    """
    profile = cProfile.Profile(builtins=True)
    profile.enable()
    try:
        act()
    finally:
        profile.disable()
    return sum(entry.callcount for entry in profile.getstats())
