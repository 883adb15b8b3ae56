# SPDX-License-Identifier: MIT
"""What every test may rely on: peers that are named when they are missing, and a throw-away account."""

import gc
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import settings
from tests.interop.peers import Account, missing
from tests.summary import tell

# A thousand channels, or three hundred servers, in one process: the usual limit of an ordinary user
# is less than that, and what he may have is more.
_SOFT, _HARD = resource.getrlimit(resource.RLIMIT_NOFILE)
if 0 <= _SOFT < 8192:
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, _HARD) if _HARD >= 0 else 8192, _HARD))

# Folders whose tests run programs, others' and ours, beside each other.
WITH_PROGRAMS = {"interop", "programs"}

IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}

# The same examples every time in CI, and no word about a slow shared machine.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("home", deadline=None)
settings.load_profile("ci" if IN_CI else "home")

# What a script starts in the background ignores Ctrl-C, what nohup starts a hang-up, and their
# children with them: those of the tests are to hear both however the tests were started.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        ours = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, ours)
# A program that forgets to write out what it has printed would write it all the same.
os.environ.pop("PYTHONUNBUFFERED", None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a matrix that is ``sampled`` the cases that are not drawn are ``slow`` ones.

    What fails beside other programs is tried once more, and said to have been: they have races of
    their own, which a busy machine shows (dbclient stands still at any server, one time in a hundred).
    """
    again = config.pluginmanager.hasplugin("rerunfailures")
    for item in items:
        if again and (item.path.parent.name in WITH_PROGRAMS or item.get_closest_marker("peer")):
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=1))
        marker = item.get_closest_marker("sampled")
        if marker is not None and crc32(item.name.encode()) % marker.args[0]:
            item.add_marker(pytest.mark.slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("peer"):
        for name in marker.args:
            if reason := missing(name):
                if IN_CI:
                    pytest.fail(f"peer {name}: {reason}, and CI has to have it", pytrace=False)
                pytest.skip(f"peer {name}: {reason}")
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = report.failed or item.stash.get(FAILED, False)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Python ignores SIGPIPE: whoever leaves it otherwise has a later test killed without a word."""
    done = yield
    if signal.getsignal(signal.SIGPIPE) != signal.SIG_IGN:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        pytest.fail("SIGPIPE was left at its default", pytrace=False)
    return done


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A failed test fails alone: what its traceback held open is let go of before the next one.

    Otherwise the warning about a child or a socket is an error of whichever test makes so many
    objects that the collector runs.
    """
    done = yield
    if item.stash.get(FAILED, False):
        for name in ("last_exc", "last_value", "last_traceback"):
            setattr(sys, name, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
    return done


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [one for some in terminalreporter.stats.values() for one in some]
    for line in tell(one for one in reports if isinstance(one, pytest.TestReport)):
        terminalreporter.write_line(line)


THROW_AWAY = "of a run of tellin's tests"


@pytest.fixture(scope="session")
def account() -> Iterator[Account]:
    """A throw-away account with a home, a shell and a password, for servers that root runs."""
    if os.geteuid() != 0:
        pytest.skip("an account can be made by root alone")
    _remove_orphans()
    # Numbers of processes come again, and so may the name of an account that was left.
    taken = {entry.pw_name for entry in pwd.getpwall()}
    name = next(
        name
        for name in (f"tellin{os.getpid()}{letter}" for letter in ("", *"abcdefghij"))
        if name not in taken
    )
    password = "wrong mule battery"
    home = Path("/home") / name
    # /bin/sh reads no start-up files; Debian's skeleton of them is not copied.
    subprocess.run(
        [
            "useradd",
            "--create-home",
            "--home-dir",
            home,
            "--skel",
            "/nonexistent",
            "--shell",
            "/bin/sh",
            "--comment",
            THROW_AWAY,
            name,
        ],
        check=True,
        capture_output=True,
    )
    try:
        subprocess.run(["chpasswd"], input=f"{name}:{password}".encode(), check=True)
        entry = pwd.getpwnam(name)
        home.chmod(0o755)
        yield Account(name, entry.pw_uid, entry.pw_gid, home, password)
    finally:
        _remove(name)


def _remove(name: str) -> None:
    subprocess.run(["userdel", "--force", name], check=False, capture_output=True)
    shutil.rmtree(Path("/home") / name, ignore_errors=True)


def _remove_orphans() -> None:
    """Remove the accounts of runs that were killed."""
    for entry in pwd.getpwall():
        process = entry.pw_name.removeprefix("tellin").rstrip("abcdefghij")
        if entry.pw_gecos == THROW_AWAY and not Path("/proc", process).exists():
            _remove(entry.pw_name)
