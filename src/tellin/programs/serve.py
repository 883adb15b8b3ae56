# SPDX-License-Identifier: MIT
"""tellin serve: one line to try a server; keys are made on the first start, one user is served."""

import os
import sys
from pathlib import Path
from shlex import quote
from typing import Final

from tellin.config.sshd_reading import read_sshd_config
from tellin.errors import ConfigError
from tellin.keys.formats import load_private_key
from tellin.keys.private import PrivateKey
from tellin.programs.command import Failure, OptionError, Options, Program
from tellin.runtime.files import make_private_directory, read_file, write_file
from tellin.runtime.journal import LEVELS, Journal, to_descriptor
from tellin.runtime.loop import SmallLoop
from tellin.runtime.privileges import Account
from tellin.runtime.surroundings import LocalSurroundings
from tellin.server.daemon import Daemon
from tellin.server.offer import Offer

USAGE: Final = "usage: tellin serve [-qv] [-d directory] [-b address] [-p port]"
DEFAULT_PORT: Final = 2222
_LARGEST_KEY_FILE: Final = 1 << 20

_OPTIONS: Final = "qvd:b:p:"


def run(arguments: list[str]) -> int:
    """The program."""
    directory = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "tellin"
    port, address, level = str(DEFAULT_PORT), "127.0.0.1", "INFO"
    options = Options(arguments, _OPTIONS)
    try:
        for letter, value in options:
            match letter:
                case "d":
                    directory = Path(value).absolute()
                case "p":
                    port = value
                case "b":
                    address = value
                case "q":
                    level = "QUIET"
                case _:
                    level = "VERBOSE" if level == "INFO" else "DEBUG1"
    except OptionError as error:
        raise Failure(f"{error}\n{USAGE}", status=1) from None
    if options.rest:
        raise Failure(f"extra argument {options.rest[0]}\n{USAGE}", status=1)
    account = Account.numbered(os.getuid())
    if account is None:
        raise Failure(f"no user has the number {os.getuid()}", status=1)
    return _serve(directory, address, port, account, Journal(LEVELS[level], to_descriptor(2)))


def _serve(directory: Path, address: str, port: str, account: Account, journal: Journal) -> int:
    try:
        # Where nothing was ever installed there may be no ~/.local/share.
        directory.parent.mkdir(parents=True, exist_ok=True)
        make_private_directory(str(directory))
    except OSError as error:
        raise Failure(f"{directory}: {error.strerror}", status=1) from None
    host_key = _key(directory / "host_ed25519", f"host key of {account.name}")
    user_key = _key(directory / "id_ed25519", f"{account.name}, made by tellin serve")
    allowed = directory / "authorized_keys"
    write_file(str(allowed), f"{user_key.public.to_line()}\n".encode(), mode=0o600)
    options = [
        f"ListenAddress={address}",
        f"Port={port}",
        f'AuthorizedKeysFile=.ssh/authorized_keys "{_without_tokens(str(allowed))}"',
        "PasswordAuthentication=no",
        "KbdInteractiveAuthentication=no",
        "PermitRootLogin=prohibit-password",
        "PidFile=none",
        # A directory outside the home was given with -d, and is trusted as it is.
        f"StrictModes={'yes' if directory.is_relative_to(account.home) else 'no'}",
    ]
    try:
        configuration = read_sshd_config(LocalSurroundings(), file="none", options=options)
    except ConfigError as error:
        raise Failure(str(error), status=1, hint=error.hint) from None
    offer = Offer.of(configuration, [host_key], None)
    offer.only = account
    loop = SmallLoop()
    daemon = Daemon(loop, offer, journal)
    try:
        bound = daemon.listen()
    except OSError as error:
        raise Failure(
            f"cannot listen on {address} port {port}: {error.strerror}",
            status=1,
            hint="choose another port with -p",
        ) from None
    _introduce(bound[0], account, host_key, directory)
    daemon.run()
    return 0


def _without_tokens(path: str) -> str:
    return path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def _key(path: Path, comment: str) -> PrivateKey:
    """The key in ``path``, made if there is none yet."""
    try:
        return load_private_key(read_file(str(path), limit=_LARGEST_KEY_FILE), name=str(path))
    except FileNotFoundError:
        made = PrivateKey.generate("ed25519", comment=comment)
        write_file(str(path), made.to_openssh(), mode=0o600)
        public = f"{made.public.to_line()}\n".encode()
        write_file(f"{path}.pub", public, mode=0o644)
        return made


def _introduce(
    bound: tuple[str, int], account: Account, host_key: PrivateKey, directory: Path
) -> None:
    """Say where we are, how we can be known, and the line to connect with."""
    host, port = bound[:2]
    print(f"serving {account.name} on {host} port {port}; stop with Ctrl-C")
    print(f"host key  {host_key.public.kind} {host_key.public.fingerprint()}")
    # As the shell and ssh's own tokens want it.
    identity = quote(str(directory / "id_ed25519").replace("%", "%%"))
    print(f"connect   tellin ssh -p {port} -i {identity} {account.name}@{host}")
    sys.stdout.flush()


PROGRAM: Final = Program(
    "serve", "try a server: serves you, on this machine", run, linked=False, options=_OPTIONS
)
