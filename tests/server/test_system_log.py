# SPDX-License-Identifier: MIT
"""What reaches syslog: priorities, and the words that filters of logs look for."""

import syslog

import pytest

from tellin.runtime.journal import DEBUG1, FATAL, INFO, QUIET
from tellin.server.system_log import SystemJournal


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """What syslog(3) is given."""
    lines: list[tuple[int, str]] = []
    monkeypatch.setattr(syslog, "syslog", lambda priority, line: lines.append((priority, line)))
    return lines


def test_a_line_has_the_priority_of_its_level(sent: list[tuple[int, str]]) -> None:
    journal = SystemJournal(DEBUG1)
    journal.fatal("Timeout before authentication for 192.0.2.7 port 5")
    journal.error("maximum authentication attempts exceeded")
    journal.info("Accepted password for eve")
    journal.verbose("Connection from 192.0.2.7")
    journal.debug("more")
    assert sent == [
        (syslog.LOG_CRIT, "fatal: Timeout before authentication for 192.0.2.7 port 5"),
        (syslog.LOG_ERR, "error: maximum authentication attempts exceeded"),
        (syslog.LOG_INFO, "Accepted password for eve"),
        (syslog.LOG_INFO, "Connection from 192.0.2.7"),
        (syslog.LOG_DEBUG, "debug1: more"),
    ]


def test_what_nobody_wants_is_not_sent(sent: list[tuple[int, str]]) -> None:
    SystemJournal(INFO).verbose("more")
    SystemJournal(FATAL).error("less")
    SystemJournal(QUIET).fatal("nothing")
    assert sent == []


def test_r036_a_line_is_one_line(sent: list[tuple[int, str]]) -> None:
    SystemJournal(INFO).info("Invalid user a\nb\x1b from 192.0.2.7")
    assert sent == [(syslog.LOG_INFO, "Invalid user a\\012b\\033 from 192.0.2.7")]


def test_two_journals_of_one_process_keep_their_names_and_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[str, int, str]] = []
    opened: list[tuple[str, int]] = []
    monkeypatch.setattr(syslog, "openlog", lambda name, _, number: opened.append((name, number)))
    monkeypatch.setattr(syslog, "syslog", lambda _, line: sent.append((*opened[-1], line)))
    login = SystemJournal(INFO)
    files = SystemJournal(INFO, facility=syslog.LOG_LOCAL3, program="internal-sftp")
    login.info("one")
    files.info("two")
    files.info("three")
    login.info("four")
    assert sent == [
        ("sshd", syslog.LOG_AUTH, "one"),
        ("internal-sftp", syslog.LOG_LOCAL3, "two"),
        ("internal-sftp", syslog.LOG_LOCAL3, "three"),
        ("sshd", syslog.LOG_AUTH, "four"),
    ]
    assert len(opened) == 5
