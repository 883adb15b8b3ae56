# SPDX-License-Identifier: MIT
"""A journal that goes to the system's log, with the priorities and words that filters expect."""

import syslog
from typing import ClassVar, Final

from tellin.runtime.journal import DEBUG1, DEBUG2, DEBUG3, ERROR, FATAL, INFO, VERBOSE, Journal

_PRIORITIES: Final = {
    FATAL: syslog.LOG_CRIT,
    ERROR: syslog.LOG_ERR,
    INFO: syslog.LOG_INFO,
    VERBOSE: syslog.LOG_INFO,
    DEBUG1: syslog.LOG_DEBUG,
    DEBUG2: syslog.LOG_DEBUG,
    DEBUG3: syslog.LOG_DEBUG,
}
# Most files of syslogd's show no priority, so OpenSSH says it in the line; on a terminal it does not.
_WORDS: Final = {FATAL: "fatal: ", ERROR: "error: "}


def facility(name: str) -> int:
    """The number that a value of SyslogFacility stands for."""
    number: int = getattr(syslog, f"LOG_{name}")
    return number


class SystemJournal(Journal):
    """Lines for syslog(3) under the name of the program, which is what logs are searched for."""

    __slots__ = ("_facility", "_priority", "_program")

    to_system = True
    # Name and number are the process's, which may have several journals: whose they are now.
    _opened: ClassVar[tuple[str, int] | None] = None

    def __init__(
        self, level: int, *, facility: int = syslog.LOG_AUTH, program: str = "sshd"
    ) -> None:
        super().__init__(level, self._send)
        self._priority = syslog.LOG_INFO
        self._program = program
        self.go_to(facility)

    def go_to(self, facility: int) -> None:
        """Log what follows under this number."""
        self._facility = facility
        self._open()

    def _open(self) -> None:
        syslog.openlog(self._program, syslog.LOG_PID, self._facility)
        SystemJournal._opened = self._program, self._facility

    def say(self, level: int, line: str) -> None:
        """Log ``line`` if lines of this level are wanted."""
        self._priority = _PRIORITIES.get(level, syslog.LOG_INFO)
        super().say(level, _WORDS.get(level, "") + line)

    def _send(self, line: str) -> None:
        if SystemJournal._opened != (self._program, self._facility):
            self._open()
        syslog.syslog(self._priority, line)
