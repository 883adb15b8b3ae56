# SPDX-License-Identifier: MIT
"""ssh-agent: holds keys in memory and signs with them for whoever may reach its socket."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Final

from tellin.config.kinds import read_seconds
from tellin.errors import ConfigError
from tellin.programs.agents.agent_place import Place, claim, clean_up
from tellin.programs.command import Failure, OptionError, Options, Program
from tellin.transport.version import VERSION
from tellin.wire import Record

USAGE: Final = """\
usage: ssh-agent [-c | -s] [-DdTU] [-a bind_address] [-E fingerprint_hash]
                 [-O option] [-P allowed_providers] [-t life]
       ssh-agent [-TU] [-a bind_address] [-E fingerprint_hash] [-O option]
                 [-P allowed_providers] [-t life] command [arg ...]
       ssh-agent [-c | -s] -k
       ssh-agent -u
       ssh-agent -V"""

_OPTIONS: Final = "csDdkuUTVa:E:O:P:t:"

_FAILED: Final = 1
_FATAL: Final = 255  # what OpenSSH's fatal() ends with
_ACTIVATED_FD: Final = 3
_GREATEST_PID: Final = (1 << 31) - 1
# What is ignored stays ignored over exec: in a session below the agent `yes | head` would not end.
_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)
_ENDINGS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1)


class Choices(Record):
    """What the command line said."""

    csh: bool | None = None
    foreground: bool = False
    debug: bool = False
    kill: bool = False
    clean: int = 0
    keep_stale: bool = False
    temporary: bool = False
    address: str | None = None
    hash_name: str = "sha256"
    lifetime: int | None = None
    version: bool = False
    remote_modules: bool = False
    web_safe: tuple[str, ...] = ("ssh:*",)
    modules: str | None = None


def _misused(message: str = "") -> Failure:
    return Failure(message, usage=USAGE, status=_FAILED)


def _parse(arguments: list[str]) -> tuple[Choices, list[str]]:
    made = Choices()
    options = Options(arguments, _OPTIONS)
    try:
        for letter, value in options:
            _LETTERS[letter](made, value)
    except OptionError as error:
        raise _misused(str(error)) from None
    if options.rest and (made.csh is not None or made.kill or made.debug or made.foreground):
        raise _misused()
    return made, options.rest


def _shell(made: Choices, *, csh: bool) -> None:
    if made.csh is not None and made.csh != csh:
        raise _misused()
    made.csh = csh


def _set(name: str, value: object) -> Callable[[Choices, str], None]:
    return lambda made, _: setattr(made, name, value)


def _hash_name(value: str) -> str:
    from tellin.keys.fingerprints import FINGERPRINT_HASHES

    if value.lower() not in FINGERPRINT_HASHES:
        raise Failure(f'Invalid hash algorithm "{value}"', status=_FATAL)
    return value.lower()


def _lifetime(value: str) -> int | None:
    try:
        # As in OpenSSH, none at all is no bound.
        return read_seconds(value) or None
    except ConfigError:
        print("Invalid lifetime", file=sys.stderr)
        raise _misused() from None


def _option(made: Choices, value: str) -> None:
    name, given, rest = value.partition("=")
    if value == "allow-remote-pkcs11":
        made.remote_modules = True
    elif value == "no-restrict-websafe":
        made.web_safe = ()
    elif name == "websafe-allow" and given and rest:
        made.web_safe = tuple(rest.split(","))
    else:
        raise Failure("Unknown -O option", status=_FATAL)


def _modules(made: Choices, value: str) -> None:
    if made.modules is not None:
        raise Failure("-P option already specified", status=_FATAL)
    made.modules = value


_LETTERS: Final[Mapping[str, Callable[[Choices, str], None]]] = {
    "c": lambda made, _: _shell(made, csh=True),
    "s": lambda made, _: _shell(made, csh=False),
    "D": _set("foreground", True),
    "d": _set("debug", True),
    "k": _set("kill", True),
    "T": _set("temporary", True),
    "U": _set("keep_stale", True),
    "u": lambda made, _: setattr(made, "clean", made.clean + 1),
    "V": _set("version", True),
    "a": lambda made, value: setattr(made, "address", value),
    "E": lambda made, value: setattr(made, "hash_name", _hash_name(value)),
    "O": _option,
    "P": _modules,
    "t": lambda made, value: setattr(made, "lifetime", _lifetime(value)),
}


def run(arguments: list[str]) -> int:
    """Start an agent, or end one."""
    choices, command = _parse(arguments)
    if choices.version:
        print(f"tellin_{VERSION}", file=sys.stderr)
        return 0
    csh = choices.csh
    if csh is None:
        csh = not command and os.environ.get("SHELL", "").endswith("csh")
    if choices.kill:
        return _kill(csh=csh)
    if choices.clean:
        clean_up(every_host=choices.clean > 1)
        return 0
    return _start(choices, command, csh=csh)


def _read_pid(word: str) -> int:
    """The number of a process that may be an agent; raises ValueError with what is wrong with it."""
    try:
        number = int(word) if len(word) <= 20 and word.isascii() else None
    except ValueError:
        number = None
    if number is None:
        raise ValueError("invalid")
    # 0 and negative numbers would name whole groups of processes, and 1 is nobody's agent.
    if number < 2:
        raise ValueError("too small")
    if number > _GREATEST_PID:
        raise ValueError("too large")
    return number


def _kill(*, csh: bool) -> int:
    word = os.environ.get("SSH_AGENT_PID")
    if word is None:
        raise Failure("SSH_AGENT_PID not set, cannot kill agent", status=_FAILED)
    try:
        number = _read_pid(word)
    except ValueError as error:
        raise Failure(
            f'SSH_AGENT_PID="{word}", which is not a good PID: {error}', status=_FAILED
        ) from None
    try:
        os.kill(number, signal.SIGTERM)
    except OSError as error:
        raise Failure(f"kill: {error.strerror}", status=_FAILED) from None
    form = "unsetenv {};" if csh else "unset {};"
    print(form.format("SSH_AUTH_SOCK"))
    print(form.format("SSH_AGENT_PID"))
    print(f"echo Agent pid {word} killed;")
    return 0


def _announce(path: str, pid: int | None, *, csh: bool, told: int) -> None:
    form = "setenv {0} {1};" if csh else "{0}={1}; export {0};"
    print(form.format("SSH_AUTH_SOCK", path))
    if pid is not None:
        print(form.format("SSH_AGENT_PID", pid))
    print(f"echo Agent pid {told};")
    sys.stdout.flush()


def _activated() -> bool:
    """Whether systemd or the like hands us the listening socket (sd_listen_fds(3))."""
    return os.environ.get("LISTEN_PID") == str(os.getpid()) and (
        os.environ.get("LISTEN_FDS") == "1"
    )


def _start(choices: Choices, command: list[str], *, csh: bool) -> int:
    stays = choices.debug or choices.foreground
    if stays and _activated():
        for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            os.environ.pop(name, None)
        place = Place.inherited(_ACTIVATED_FD)
    else:
        if not choices.keep_stale and choices.address is None:
            clean_up(every_host=False)
        place = claim(choices.address, temporary=choices.temporary)
    if stays:
        if place.path is not None:
            _announce(place.path, None, csh=csh, told=os.getpid())
        return _serve(place, choices, parent=None)
    assert place.path is not None
    parent = os.getpid()
    sys.stdout.flush()
    # Who has read the number may use it at once: a signal waits until the agent can hear it,
    # or its socket would stay behind.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    child = os.fork()
    if child == 0:
        return _serve(place, choices, parent=parent if command else 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
    place.leave_to_child()
    if not command:
        _announce(place.path, child, csh=csh, told=child)
        return 0
    os.environ["SSH_AUTH_SOCK"] = place.path
    os.environ["SSH_AGENT_PID"] = str(child)
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - it is what the user asks for
    except OSError as error:
        raise Failure(f"{command[0]}: {error.strerror}", status=_FAILED) from None


def _serve(place: Place, choices: Choices, *, parent: int | None) -> int:
    """Serve until a signal comes or, with a parent that is not 0, until that one has ended."""
    from tellin.agent.session import TokenPolicy
    from tellin.programs.agents.agent_service import AgentService, detach, harden
    from tellin.programs.agents.agent_tokens import ALLOWED, allowed_path

    if parent is not None:
        detach()
    harden()
    modules = ALLOWED if choices.modules is None else choices.modules
    service = AgentService(
        place,
        lifetime=choices.lifetime,
        hash_name=choices.hash_name,
        debug=choices.debug,
        tokens=TokenPolicy(
            choices.remote_modules,
            choices.web_safe,
            lambda provider: allowed_path(provider, modules),
        ),
    )
    return service.run(parent=parent or None)


PROGRAM: Final = Program(
    "ssh-agent", "hold keys and sign with them", run, failure=_FAILED, options=_OPTIONS
)
