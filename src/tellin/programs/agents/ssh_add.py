# SPDX-License-Identifier: MIT
"""ssh-add: gives keys to the agent, takes them away, and shows which ones it has."""

# pathlib would double the start-up time of a program that runs in every login shell.
# ruff: noqa: PTH110

import os
import pwd
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from tellin.agent.constraints import LONGEST_LIFETIME, Constraints
from tellin.agent.credentials import Public
from tellin.client.authentication.agents import Agent
from tellin.errors import (
    ConfigError,
    ConnectFailed,
    KeyFileError,
    RequestRefused,
    SignatureFailed,
    WrongPassphrase,
)
from tellin.keys.certificates import (
    FOREVER,
    Certificate,
    inner_key,
    is_certificate_type,
    load_certificate,
)
from tellin.keys.formats import MOST_BYTES, load_private_key, load_public_key
from tellin.keys.openssh import DEFAULT_MOST_ROUNDS, CostlyPassphrase
from tellin.keys.private import PrivateKey
from tellin.keys.public import PublicKey, words_of
from tellin.programs.agents.add_wishes import FATAL, Wishes, asked, tell, told
from tellin.programs.command import Failure, OptionError, Options, Program, say_error, visible

USAGE: Final = """\
usage: ssh-add [-CcDdKkLlNqvXx] [-E fingerprint_hash] [-H hostkey_file]
               [-h destination_constraint] [-S provider] [-t life] [file ...]
       ssh-add -s pkcs11 [-Cv] [certificate ...]
       ssh-add -e pkcs11
       ssh-add -T pubkey ...
       ssh-add -Q"""

_OPTIONS: Final = "CcDdKkLlNqQTvXxE:e:H:h:S:s:t:"

_FAILED: Final = 1
_NO_AGENT: Final = 2
_STANDARD_INPUT: Final = "-"

# As many as OpenSSH looks for, in its order.
_DEFAULTS: Final = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")


def _misused(message: str = "") -> Failure:
    return Failure(message, usage=USAGE, status=_FAILED)


def run(arguments: list[str]) -> int:
    """Do what the command line asks for; without a mode, add keys."""
    wishes = Wishes()
    options = Options(arguments, _OPTIONS)
    try:
        for letter, value in options:
            _take(wishes, letter, value)
    except OptionError as error:
        raise _misused(str(error)) from None
    wishes.mode = _mode_of(wishes.modes)
    with _agent() as agent:
        if wishes.mode in _ALONE:
            return _ALONE[wishes.mode](agent, wishes)
        if wishes.mode in {"K", "e", "s"}:
            # Who has no tokens does not pay for them.
            from tellin.programs.agents import add_tokens

            if wishes.mode == "K":
                return add_tokens.add_resident(agent, wishes)
            return add_tokens.change_module(agent, wishes, options.rest)
        if wishes.mode == "T":
            return _test(agent, options.rest)
        return _each(agent, wishes, options.rest)


def _take(wishes: Wishes, letter: str, value: str) -> None:
    if letter in _FLAGS:
        setattr(wishes, _FLAGS[letter], True)
        return
    match letter:
        case "S":
            wishes.provider = value
        case "v":
            wishes.loud += 1
        case "E":
            from tellin.keys.fingerprints import FINGERPRINT_HASHES

            if value.lower() not in FINGERPRINT_HASHES:
                raise Failure(f'Invalid hash algorithm "{value}"', status=FATAL)
            wishes.hash_name = value.lower()
        case "t":
            wishes.lifetime = _lifetime(value)
        case "h":
            wishes.destinations.append(value)
        case "H":
            wishes.host_files.append(value)
        case _:
            wishes.modes.append(letter)
            wishes.module = value or wishes.module


def _mode_of(asked: Sequence[str]) -> str:
    """Which of the modes that were asked for is done, as OpenSSH decides it; nothing is to add keys."""
    for pair in ("lL", "xX"):
        chosen = [letter for letter in asked if letter in pair]
        if len(chosen) > 1:
            raise Failure(f"-{chosen[0]} flag already specified", status=FATAL)
    alone = {letter for letter in asked if letter in _ALONE}
    if len(alone) > 1:
        raise Failure("Invalid combination of actions", status=FATAL)
    if not alone and "s" in asked and "d" in asked:
        return "e"
    return next((letter for letter in (*alone, "T", "e", "s", "K", "d") if letter in asked), "")


_FLAGS: Final = {
    "C": "certified_only",
    "c": "confirm",
    "k": "plain_only",
    "N": "keep_expired",
    "q": "quiet",
}


def _lifetime(value: str) -> int | None:
    from tellin.config.kinds import read_seconds

    try:
        seconds = read_seconds(value)
    except ConfigError:
        seconds = -1
    if not 0 <= seconds <= LONGEST_LIFETIME:
        raise told("Invalid lifetime")
    return seconds or None


def _agent() -> Agent:
    if not os.environ.get("SSH_AUTH_SOCK"):
        raise told(
            "Could not open a connection to your authentication agent.",
            status=_NO_AGENT,
            hint='start an agent: eval "$(tellin ssh-agent -s)"',
        )
    try:
        return Agent.connect()
    except ConnectFailed as error:
        raise told(
            f"Error connecting to agent: {error}", status=_NO_AGENT, hint=error.hint
        ) from None


# What needs no key file


def _list(agent: Agent, wishes: Wishes) -> int:
    keys = agent.keys()
    if not keys:
        print("The agent has no identities.")
        return _FAILED
    for key in keys:
        if wishes.mode == "L":
            print(key.to_line().translate(_ESCAPED))
        else:
            comment = visible(key.comment)
            bits = inner_key(key).bits
            print(f"{bits} {key.fingerprint(wishes.hash_name)} {comment} ({key.kind})")
    return 0


# A comment is anybody's text: what could steer a terminal is shown and not sent (R036).
_ESCAPED: Final = {code: f"\\{code:03o}" for code in (*range(9), *range(10, 32), 127)}


def _clear(agent: Agent, wishes: Wishes) -> int:
    try:
        agent.clear()
    except RequestRefused:
        raise told("Failed to remove all identities.") from None
    wishes.say("All identities removed.")
    return 0


def _lock(agent: Agent, wishes: Wishes) -> int:
    first = asked("Enter lock password: ")
    if asked("Again: ") != first:
        raise told("Passwords do not match.")
    try:
        agent.lock(first)
    except RequestRefused as error:
        raise told(f"Failed to lock agent: {error}") from None
    tell("Agent locked.")
    return 0


def _unlock(agent: Agent, wishes: Wishes) -> int:
    try:
        agent.unlock(asked("Enter lock password: "))
    except RequestRefused as error:
        raise told(f"Failed to unlock agent: {error}") from None
    tell("Agent unlocked.")
    return 0


def _extensions(agent: Agent, wishes: Wishes) -> int:
    names = agent.extensions()
    if names is None:
        raise Failure("The agent does not say which extensions it has.", status=_FAILED)
    for name in names:
        print(visible(name))
    return 0


_ALONE: Final[Mapping[str, Callable[[Agent, Wishes], int]]] = {
    "D": _clear,
    "L": _list,
    "l": _list,
    "Q": _extensions,
    "X": _unlock,
    "x": _lock,
}


def read_file(path: str) -> bytes:
    """A file that holds a key, in full; ConfigError if it is longer than any."""
    # Who only lists keys reads none.
    from tellin.runtime import files

    return files.read_file(path, limit=MOST_BYTES, pipes=True)


# What is done for each file


def _test(agent: Agent, paths: list[str]) -> int:
    """Whether the agent signs with these keys."""
    if not paths:
        raise Failure("no keys to test", status=FATAL)
    status = 0
    for path in paths:
        key = _public_of(path)
        data = os.urandom(1024)
        try:
            agent.sign(key, data, inner_key(key).signature_algorithms[0])
        except SignatureFailed as error:
            say_error(f"Agent signature failed for {visible(path)}: {error}")
            status = _FAILED
    return status


def _public_in(path: str) -> Public:
    """The key or the certificate in a file; raises OSError, ConfigError and KeyFileError."""
    data = read_file(path)
    found: Public
    try:
        found = load_public_key(data)
    except KeyFileError as fault:
        try:
            found = load_certificate(data)
        except KeyFileError:
            # It is the better word for a file that is neither.
            raise fault from None
    # A private key's file tells of a comment to those alone who can open it.
    named = found.comment or data.startswith(b"-----BEGIN ")
    return found if named else found.with_comment(path)


def _public_of(path: str) -> Public:
    try:
        return _public_in(path)
    except OSError as error:
        raise Failure(
            f"Couldn't read public key {path}: {error.strerror}", status=_FAILED
        ) from None
    except (KeyFileError, ConfigError) as error:
        raise Failure(f"Couldn't read public key {path}: {error}", status=_FAILED) from None


def _each(agent: Agent, wishes: Wishes, paths: list[str]) -> int:
    do = _remove if wishes.mode == "d" else _add
    if paths:
        return max(do(agent, wishes, path) for path in paths)
    home = pwd.getpwuid(os.getuid()).pw_dir
    found = [path for name in _DEFAULTS if os.path.exists(path := f"{home}/.ssh/{name}")]
    return max((do(agent, wishes, path) for path in found), default=_FAILED)


def _remove(agent: Agent, wishes: Wishes, path: str) -> int:
    # One that has gone is a success, whatever became of the other.
    status = _FAILED
    for name, key in _keys_to_remove(path, wishes):
        try:
            agent.remove(key)
        except RequestRefused as error:
            tell(f'Could not remove identity "{name}": {error}')
        else:
            status = 0
            comment = visible(key.comment) or "no comment"
            wishes.say(f"Identity removed: {name} {key.kind} ({comment})")
    return status


def _keys_to_remove(path: str, wishes: Wishes) -> list[tuple[str, Public]]:
    """What is to go, with its name: a file's key and certificate, or what standard input lists."""
    if path == _STANDARD_INPUT:
        return list(_typed_keys())
    found: list[tuple[str, Public]] = []
    cause = ""
    for candidate in (f"{path}.pub", path):
        try:
            found.append((path, _public_in(candidate)))
            break
        except OSError as error:
            cause = error.strerror or str(error)
        except (KeyFileError, ConfigError) as error:
            cause = str(error)
    else:
        print(f"Bad key file {visible(path)}: {cause}")
        return []
    if wishes.certified_only:
        found.clear()
    place = f"{path}-cert.pub"
    if not wishes.plain_only:
        with suppress(OSError, KeyFileError, ConfigError):
            found.append((place, _public_in(place)))
    return found


def _typed_keys() -> Iterator[tuple[str, Public]]:
    for number, raw in enumerate(sys.stdin.read(MOST_BYTES).split("\n"), 1):
        line = raw.strip(" \t\r")
        if line and not line.startswith("#"):
            try:
                certified = is_certificate_type(words_of(line)[0])
                key = load_certificate(line) if certified else PublicKey.from_line(line)
            except KeyFileError as error:
                say_error(f"(stdin):{number}: invalid key: {error}")
            else:
                yield "(stdin)", key


def _add(agent: Agent, wishes: Wishes, path: str) -> int:
    shown = "(stdin)" if path == _STANDARD_INPUT else path
    data = _read(path)
    if not data:
        return _FAILED
    key = _opened(data, shown, wishes)
    if key is None:
        return _FAILED
    if not key.comment:
        key = key.with_comment(shown)
    bounds = wishes.constraints()
    status = 0
    if not wishes.certified_only:
        try:
            _give(agent, key, bounds, wishes)
        except RequestRefused as error:
            tell(f'Could not add identity "{shown}": {error}')
            status = _FAILED
        else:
            wishes.say(f"Identity added: {shown} ({visible(key.comment)})")
            wishes.say_bounds(wishes.lifetime)
    if not wishes.plain_only and path != _STANDARD_INPUT:
        status = max(status, _add_certificate(agent, wishes, key, path, bounds))
    return status


def _give(
    agent: Agent,
    key: PrivateKey,
    bounds: Constraints,
    wishes: Wishes,
    certificate: Certificate | None = None,
) -> None:
    agent.add(
        key,
        lifetime=bounds.lifetime,
        confirm=bounds.confirm,
        destinations=bounds.destinations,
        certificate=certificate,
        provider=wishes.provider if key.public.is_on_token else "",
    )


def _add_certificate(
    agent: Agent, wishes: Wishes, key: PrivateKey, path: str, bounds: Constraints
) -> int:
    """Add the certificate that lies beside a key's file, under the same constraints (R153)."""
    place = f"{path}-cert.pub"
    if not os.path.exists(place):
        return 0
    try:
        certificate = load_certificate(read_file(place))
    except (OSError, KeyFileError, ConfigError) as error:
        say_error(f'Failed to load certificate "{place}": {error}')
        return _FAILED
    if certificate.key != key.public:
        say_error(f"Certificate {place} does not match private key {path}")
        return _FAILED
    lifetime = bounds.lifetime
    if not wishes.keep_expired:
        left = _seconds_left(certificate)
        if left is not None and left <= 0:
            say_error(f"Certificate {place} has already expired")
            return 0
        lifetime = left if lifetime is None else lifetime if left is None else min(lifetime, left)
    timed = Constraints(lifetime, bounds.confirm, bounds.destinations)
    try:
        _give(agent, key, timed, wishes, certificate)
    except RequestRefused as error:
        say_error(f"Certificate {place} ({certificate.key_id}) add failed: {error}")
        return _FAILED
    wishes.say(f"Certificate added: {place} ({visible(certificate.key_id)})")
    wishes.say_bounds(lifetime)
    return 0


# Clocks differ: a certificate stays a little longer than it should be of use.
_GRACE_SECONDS: Final = 300


def _seconds_left(certificate: Certificate) -> int | None:
    """How long the agent is to keep a certificate; None for ever."""
    if certificate.valid_before >= FOREVER:
        return None
    left = certificate.valid_before + _GRACE_SECONDS - int(time.time())
    return min(left, LONGEST_LIFETIME)


def _read(path: str) -> bytes:
    if path == _STANDARD_INPUT:
        return sys.stdin.buffer.read(MOST_BYTES + 1)[:MOST_BYTES]
    from tellin.client.authentication.identities import read_key_file
    from tellin.runtime.journal import ERROR, Journal

    try:
        # As in ssh-add <(command): what a command prints need not lie on a disk.
        return read_key_file(path, Journal(ERROR, _say_why_not), pipes=True)
    except OSError as error:
        tell(f"{path}: {error.strerror}")
        return b""


def _say_why_not(line: str) -> None:
    # ssh sums its warning up in one line more.
    if not line.endswith(": bad permissions"):
        say_error(line)


def _opened(data: bytes, shown: str, wishes: Wishes) -> PrivateKey | None:
    """The key, after asking for its passphrase as often as it takes; None if nobody gives it."""
    try:
        return load_private_key(data)
    except WrongPassphrase:
        pass
    except KeyFileError as error:
        tell(f"Error loading key {_quoted(shown)}: {error}")
        return None
    most_rounds = DEFAULT_MOST_ROUNDS
    if wishes.passphrase:
        with suppress(WrongPassphrase, KeyFileError):
            return load_private_key(data, wishes.passphrase)
    suffix = " (will confirm each use)" if wishes.confirm else ""
    question = f"Enter passphrase for {visible(shown)}{suffix}: "
    from tellin.runtime import prompts

    while True:
        answer = prompts.ask(question, standard_input=True)
        if not answer:
            return None
        secret = answer.encode("utf-8", "surrogateescape")
        try:
            try:
                key = load_private_key(data, secret, most_rounds=most_rounds)
            except CostlyPassphrase as costly:
                if not _goes_on(shown, costly):
                    return None
                most_rounds = costly.rounds
                key = load_private_key(data, secret, most_rounds=most_rounds)
        except WrongPassphrase:
            question = f"Bad passphrase, try again for {visible(shown)}{suffix}: "
        except KeyFileError as error:
            tell(f"Error loading key {_quoted(shown)}: {error}")
            return None
        else:
            wishes.passphrase = secret
            return key


def _goes_on(shown: str, costly: CostlyPassphrase) -> bool:
    """Whether the owner waits for a passphrase that takes minutes, or is told no by who asks for hours."""
    from tellin.runtime import prompts

    question = f"The key {visible(shown)} has {costly}. Go on (yes/no)? "
    answer = prompts.ask(question, echo=True, standard_input=True, confirm=True)
    # A program that asks for a yes by a button says nothing.
    return answer is not None and answer.strip().lower() in {"", "yes"}


def _quoted(path: str) -> str:
    return f'"{path}"'


PROGRAM: Final = Program(
    "ssh-add", "give keys to the agent", run, failure=_FAILED, options=_OPTIONS
)
