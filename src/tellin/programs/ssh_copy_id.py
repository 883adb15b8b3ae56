# SPDX-License-Identifier: MIT
"""ssh-copy-id: puts public keys into a remote account's authorized_keys, once each."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tellin.errors import (
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    KeyFileError,
    ProtocolError,
    RequestRefused,
    SftpError,
)
from tellin.keys.formats import MOST_BYTES, load_public_key
from tellin.keys.public import PublicKey
from tellin.programs.command import Failure, OptionError, Options, Program, say_error, visible
from tellin.runtime.files import read_file

USAGE: Final = """\
Usage: ssh-copy-id [-h|-?|-f|-n|-s|-x] [-i [identity_file]] [-t target_path] [-p port]
                   [-F alternative ssh_config file] [[-o <ssh -o options>] ...]
                   [user@]hostname
\t-f: force mode -- copy keys without trying to check if they are already installed
\t-n: dry run    -- no keys are actually copied
\t-s: use sftp   -- no command is run there, for accounts that may only move files
\t-t: the file to write, from the home directory; .ssh/authorized_keys if not given
\t-x: say what is run
\t-h|-?: print this help"""

_OPTIONS: Final = "fnsxh?i:t:p:F:o:"

_NAME: Final = "ssh-copy-id"
_FAILED: Final = 1
_TARGET: Final = ".ssh/authorized_keys"
# As long as a POSIX shell is sure to take in one word, with room to spare.
_MOST_TARGET: Final = 1024

# What the account's own shell is given in single quotes, so there are none inside. Every key comes
# as a line on standard input; one whose blob is there already, whatever stands beside it, stays as
# it is; in a comment it lets nobody in. A last line without its end gets one first, or the new key
# would be part of a comment.
# Only what is made here gets modes of its own; what others may write is not left so, since
# StrictModes would make sshd pass it over.
_INSTALL: Final = (
    'umask 077; cd && target="{target}" && case "$target" in */*) dir="${{target%/*}}"; '
    'mkdir -p "$dir" && chmod go-w "$dir" || exit 1;; esac; '
    'touch "$target" && chmod go-w "$target" || exit 1; added=0; '
    "while IFS= read -r line; do set -f; set -- $line; "
    '[ -n "$2" ] || continue; '
    'if grep -v "^[[:space:]]*#" "$target" | grep -qF "$2"; then continue; fi; '
    '[ -z "$(tail -c 1 "$target")" ] || echo >> "$target" || exit 1; '
    'printf "%s\\n" "$line" >> "$target" || exit 1; added=$((added+1)); done; '
    'if type restorecon >/dev/null 2>&1; then restorecon -F "$target"; fi; '
    'echo "added $added"'
)


class Wishes:
    """What the command line said."""

    def __init__(self) -> None:
        self.force = False
        self.dry = False
        self.loud = False
        self.sftp = False
        self.asked = False
        self.key_file: str | None = None
        self.target = _TARGET
        self.ssh: list[str] = []


def run(arguments: list[str]) -> int:
    """Install the keys; the status is 1 where none could be."""
    wishes = Wishes()
    options = Options(_with_key_file(arguments), _OPTIONS)
    try:
        for letter, value in options:
            _take(wishes, letter, value)
    except OptionError as error:
        raise Failure(str(error), usage=USAGE, status=_FAILED) from None
    if wishes.asked:
        print(USAGE)
        return 0
    if len(options.rest) != 1:
        what = "Too many arguments.  Expecting a target hostname" if options.rest else ""
        message = f"{_NAME}: ERROR: {what}, got: {' '.join(options.rest)}" if what else ""
        raise Failure(message, usage=USAGE, status=_FAILED)
    return _copy(wishes, options.rest[0])


def _with_key_file(arguments: Sequence[str]) -> list[str]:
    """The arguments, where a bare -i, which means the default, has the word for it behind it."""
    made = list(arguments)
    for at, word in enumerate(made[:-1]):
        if word == "-i" and (made[at + 1].startswith("-") or at + 2 == len(made)):
            made[at] = "-i" + _DEFAULT_KEY
            break
    return made


_DEFAULT_KEY: Final = "\0"


def _take(wishes: Wishes, letter: str, value: str) -> None:
    match letter:
        case "f":
            wishes.force = True
        case "n":
            wishes.dry = True
        case "s":
            wishes.sftp = True
        case "x":
            wishes.loud = True
        case "i":
            if wishes.key_file is not None:
                raise Failure(
                    f"{_NAME}: ERROR: -i option must not be specified more than once",
                    usage=USAGE,
                    status=_FAILED,
                )
            wishes.key_file = value
        case "t":
            wishes.target = _safe_target(value)
        case "p" | "F" | "o":
            wishes.ssh += [f"-{letter}", value]
        case _:
            wishes.asked = True


def _safe_target(path: str) -> str:
    # It stands between quotes in a shell's words.
    plain = all(sign.isalnum() or sign in "/._-+@ " for sign in path)
    if not path or not plain or len(path) > _MOST_TARGET or path.endswith("/"):
        raise Failure(f"{_NAME}: ERROR: bad target path: {visible(path)}", status=_FAILED)
    return path


# The keys


def _home() -> Path:
    return Path(os.environ.get("HOME") or Path.home())


def _read(path: str) -> list[PublicKey]:
    """All keys of a .pub file."""
    try:
        text = read_file(path, limit=MOST_BYTES).decode("utf-8", "surrogateescape")
    except (OSError, ConfigError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise Failure(
            f"{_NAME}: ERROR: failed to open ID file '{path}': {cause}", status=_FAILED
        ) from None
    found = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            try:
                found.append(load_public_key(line))
            except KeyFileError as error:
                raise Failure(
                    f"{_NAME}: ERROR: '{path}' is no public key: {error}", status=_FAILED
                ) from None
    return found


def _sources(wishes: Wishes) -> tuple[list[PublicKey], str]:
    """The keys to install, and the file that they are from, if they are from one."""
    if wishes.key_file in {None, _DEFAULT_KEY}:
        held = [] if wishes.key_file == _DEFAULT_KEY else _held()
        if held:
            return held, ""
        path = _newest()
    else:
        path = str(wishes.key_file)
        path = path if path.endswith(".pub") else f"{path}.pub"
    say_error(f'{_NAME}: INFO: Source of key(s) to be installed: "{path}"')
    return _read(path), path.removesuffix(".pub")


def _held() -> list[PublicKey]:
    """What the agent holds."""
    if not os.environ.get("SSH_AUTH_SOCK"):
        return []
    from tellin.client.authentication.agents import Agent

    try:
        with Agent.connect() as agent:
            held = agent.keys()
        return [key for key in held if isinstance(key, PublicKey)]
    except (ConnectFailed, RequestRefused):
        return []


def _newest() -> str:
    """The newest ~/.ssh/id*.pub that is no certificate."""
    paths = [
        path
        for path in (_home() / ".ssh").glob("id*.pub")
        if path.is_file() and not path.name.endswith("-cert.pub")
    ]
    if not paths:
        raise Failure(f"{_NAME}: ERROR: no ID file found", status=_FAILED)
    return str(max(paths, key=lambda path: path.stat().st_mtime))


def _line(key: PublicKey) -> str:
    # An agent's comment is anybody's text: a line break in it would begin a line of its own, and
    # that could be another key.
    return "".join(max(sign, " ") for sign in key.to_line())


# The other side


def _ssh(wishes: Wishes, words: Sequence[str]) -> list[str]:
    # A host that is only about to be trusted gets no agent to use, and no windows to look into.
    argv = [sys.executable, "-m", "tellin", "ssh", "-a", "-x", *wishes.ssh, *words]
    if wishes.loud:
        say_error(f"{_NAME}: + {' '.join(map(visible, argv[2:]))}")
    return argv


def _surroundings() -> Mapping[str, str]:
    return {**os.environ, "PYTHONSAFEPATH": "1"}


_SSH_FAILED: Final = 255
# What ssh says where another key, or somebody who answers its questions, may do better.
_REFUSALS: Final = (
    "Permission denied",
    "Host key verification failed",
    "Too many authentication failures",
)


def _logs_in(wishes: Wishes, destination: str, private: str) -> bool:
    """Whether a key is installed already: whether one can log in with it alone.

    Failure where no key makes a difference: a host that cannot be reached is not asked for each.
    """
    words = [
        "-i", private,
        "-o", "ControlPath=none",
        "-o", "LogLevel=INFO",
        "-o", "PreferredAuthentications=publickey",
        "-o", "IdentitiesOnly=yes",
        "-o", "BatchMode=yes",
        *(["-s", destination, "sftp"] if wishes.sftp else [destination, "exit"]),
    ]  # fmt: skip
    done = subprocess.run(
        _ssh(wishes, words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_surroundings(),
        check=False,
    )
    said = done.stderr.decode("utf-8", "replace").strip()
    if done.returncode == _SSH_FAILED and not any(words in said for words in _REFUSALS):
        lines = "\n".join(f"ERROR: {line.strip()}" for line in said.splitlines())
        raise Failure(f"\n{_NAME}: {lines or 'ERROR: ssh failed'}\n", status=_FAILED)
    return done.returncode == 0


def _missing(
    wishes: Wishes, destination: str, keys: Sequence[PublicKey], private: str
) -> list[PublicKey]:
    """The keys that cannot log in yet."""
    say_error(
        f"{_NAME}: INFO: attempting to log in with the new key(s), to filter out any that are"
        " already installed"
    )
    from tempfile import TemporaryDirectory

    found = []
    with TemporaryDirectory(prefix="ssh-copy-id-") as scratch:
        for number, key in enumerate(keys):
            tried = private
            if not private or len(keys) > 1 or not Path(private).exists():
                # The public half is enough where an agent has the other.
                tried = f"{scratch}/key{number}.pub"
                Path(tried).write_text(key.to_line() + "\n", "utf-8", "surrogateescape")
            if not _logs_in(wishes, destination, tried):
                found.append(key)
    return found


def _copy(wishes: Wishes, destination: str) -> int:
    keys, private = _sources(wishes)
    if not keys:
        raise Failure(f"{_NAME}: ERROR: No identities found", status=_FAILED)
    if not wishes.force:
        keys = _missing(wishes, destination, keys, private)
        if not keys:
            say_error(
                f"\n{_NAME}: WARNING: All keys were skipped because they already exist on the"
                " remote system.\n\t\t(if you think this is a mistake, you may want to use -f"
                " option)\n"
            )
            return 0
    say_error(
        f"{_NAME}: INFO: {len(keys)} key(s) remain to be installed -- if you are prompted now it"
        " is to install the new keys"
    )
    added = len(keys) if wishes.dry else _install(wishes, destination, keys)
    would = "would have been " if wishes.dry else ""
    print(f"\nNumber of key(s) {would}added: {added}\n")
    if wishes.dry:
        print("=-=-=-=-=-=-=-=")
        print("Would have added the following key(s):\n")
        for key in keys:
            print(visible(_line(key)))
        print("=-=-=-=-=-=-=-=")
        return 0
    words = [word if at % 2 == 0 else _quoted(word) for at, word in enumerate(wishes.ssh)]
    login = " ".join([*words, _quoted(destination)])
    program = "sftp" if wishes.sftp else "ssh"
    print(f'Now try logging into the machine, with:   "{program} {login}"')
    print("and check to make sure that only the key(s) you wanted were added.\n")
    return 0


def _quoted(word: str) -> str:
    """A word as a shell takes it whole, whatever is in it."""
    inner = visible(word).replace("'", "'\\''")
    return f"'{inner}'"


def _install(wishes: Wishes, destination: str, keys: Sequence[PublicKey]) -> int:
    """Add the keys there, and say how many were new."""
    if wishes.sftp:
        return _install_by_sftp(wishes, destination, keys)
    lines = "".join(_line(key) + "\n" for key in keys).encode("utf-8", "surrogateescape")
    script = _INSTALL.format(target=wishes.target)
    words = ["-o", "ControlPath=none", "-T", destination, f"exec sh -c '{script}'"]
    done = subprocess.run(
        _ssh(wishes, words),
        input=lines,
        stdout=subprocess.PIPE,
        env=_surroundings(),
        check=False,
    )
    last = done.stdout.decode("ascii", "replace").split()[-2:]
    if done.returncode != 0 or last[:-1] != ["added"] or not last[-1].isdigit():
        raise Failure(
            f"{_NAME}: ERROR: the key(s) could not be installed (status {done.returncode})",
            status=_FAILED,
            hint="does the account run commands? What it said stands above",
        )
    return int(last[1])


def _install_by_sftp(wishes: Wishes, destination: str, keys: Sequence[PublicKey]) -> int:
    from tellin.programs.copy_id_files import FileServer, install

    lines = [_line(key).encode("utf-8", "surrogateescape") for key in keys]
    words = ["-o", "ControlPath=none", "-T", "-s", destination, "sftp"]
    try:
        with FileServer(_ssh(wishes, words), _surroundings()) as server:
            return install(server, wishes.target, lines)
    except (SftpError, ConnectionLost, ProtocolError) as error:
        raise Failure(
            f"{_NAME}: ERROR: the key(s) could not be installed: {error}", status=_FAILED
        ) from None


PROGRAM: Final = Program(
    _NAME, "install public keys in a remote account", run, failure=_FAILED, options=_OPTIONS
)
