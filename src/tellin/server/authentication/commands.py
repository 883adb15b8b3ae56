# SPDX-License-Identifier: MIT
"""Commands that are asked who may log in: AuthorizedKeysCommand and AuthorizedPrincipalsCommand (sshd_config(5))."""

import os
import select
import shlex
import signal
import stat
import subprocess
import time
from binascii import b2a_base64
from collections.abc import Callable
from typing import Final

from tellin.config.tokens import Tokens, expand
from tellin.errors import ConfigError, TellinError
from tellin.keys.certificates import Certificate
from tellin.runtime.privileges import Account
from tellin.server.authentication.access import Helper
from tellin.userauth.questions import Shown

# Case 162: a command that says nothing, or does not end saying it, lets nobody in.
PATIENCE: Final = 10.0
MOST_OUTPUT: Final = 1 << 20
_STANDARD_PATH: Final = "/usr/bin:/bin:/usr/sbin:/sbin"
_CHUNK: Final = 65536


class HelperFailed(TellinError):
    """A command that did not answer; the message is for the log."""


def ask(helper: Helper, tokens: Tokens, *, patience: float = PATIENCE) -> str:
    """What a command prints; raises HelperFailed unless it ends well and in time."""
    if not helper.user:
        raise HelperFailed(f"No user for {helper.keyword} specified, skipping")
    try:
        # Split first: what is put in stays in its word, whatever it holds.
        words = [expand(word, tokens, allowed=helper.letters) for word in shlex.split(helper.line)]
    except (ValueError, ConfigError) as error:
        raise HelperFailed(f"{helper.keyword}: {error}") from None
    account = Account.named(helper.user)
    if account is None:
        raise HelperFailed(f'{helper.keyword}User "{helper.user}" does not exist')
    if not words or not words[0].startswith("/"):
        raise HelperFailed(f"{helper.keyword} path is not absolute")
    fault = _path_fault(words[0])
    if fault:
        raise HelperFailed(f"Unsafe {helper.keyword} {words[0]!r}: {fault}")
    child = _start(helper, words, account)
    try:
        output = _read(child, time.monotonic() + patience)
    finally:
        _end(child)
    if output is None:
        raise HelperFailed(f"{helper.keyword} {words[0]!r} did not answer within bounds")
    if child.returncode != 0:
        raise HelperFailed(f"{helper.keyword} {words[0]!r} failed, status {child.returncode}")
    return output.decode("utf-8", "surrogateescape")


def _start(helper: Helper, words: list[str], account: Account) -> "subprocess.Popen[bytes]":
    user, group, groups = None, None, None
    if os.geteuid() == 0:
        # R119, CVE-2021-41617: with the groups of its own user, and not with ours.
        user, group, groups = account.uid, account.gid, account.groups()
    elif account.uid != os.geteuid():
        raise HelperFailed(f"{helper.keyword}: only root can run it as {account.name}")
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={
                "PATH": _STANDARD_PATH,
                "USER": account.name,
                "LOGNAME": account.name,
                "HOME": account.home,
            },
            # Of its own, so that all it starts can be ended with it.
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=groups,
        )
    except OSError as error:
        raise HelperFailed(f"{helper.keyword} {words[0]!r}: {error.strerror}") from None


def _read(child: "subprocess.Popen[bytes]", until: float) -> bytes | None:
    """Its output to the end; None if that is too much or too late."""
    assert child.stdout is not None
    descriptor = child.stdout.fileno()
    output = b""
    while len(output) <= MOST_OUTPUT:
        left = until - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return None
        data = os.read(descriptor, _CHUNK)
        if not data:
            try:
                child.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                return None
            return output
        output += data
    return None


def _end(child: "subprocess.Popen[bytes]") -> None:
    assert child.stdout is not None
    child.stdout.close()
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _path_fault(path: str) -> str:
    """Why a program cannot be trusted: root alone may be able to put anything in its place."""
    place = path
    while True:
        try:
            status = os.stat(place)  # noqa: PTH116  (the path as the configuration has it)
        except OSError as error:
            return f"{place}: {error.strerror}"
        if status.st_uid not in {0, os.geteuid()} or status.st_mode & 0o022:
            return f"bad ownership or modes for {place}"
        if place == path and not stat.S_ISREG(status.st_mode):
            return f"{place} is not a regular file"
        if place == "/":
            return ""
        place = os.path.dirname(place)  # noqa: PTH120  (a text, step by step)


def command_tokens(account: Account, user: str, key: Shown, ends: str) -> Tokens:
    """What the letters of such a command stand for."""
    tokens: dict[str, Callable[[], str]] = {
        "C": lambda: ends,
        "D": str,
        "f": key.fingerprint,
        "h": lambda: account.home,
        "k": lambda: b2a_base64(key.blob, newline=False).decode("ascii"),
        "t": lambda: key.key_type,
        "u": lambda: user,
        "U": lambda: str(account.uid),
        # Of a certificate alone; a plain key has none of them.
        "F": str,
        "i": str,
        "K": str,
        "s": lambda: "0",
        "T": str,
    }
    if isinstance(key, Certificate):
        authority = key.authority
        tokens |= {
            "F": authority.fingerprint,
            "i": lambda: key.key_id,
            "K": lambda: b2a_base64(authority.blob, newline=False).decode("ascii"),
            "s": lambda: str(key.serial),
            "T": lambda: authority.key_type,
        }
    return tokens
