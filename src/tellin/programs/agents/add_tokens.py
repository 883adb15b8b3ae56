# SPDX-License-Identifier: MIT
"""ssh-add and keys inside tokens: those of PKCS#11 modules, and those that security keys remember."""

import os
from typing import Final

from tellin.agent.constraints import Constraints
from tellin.agent.tokens import ListResident, ResidentListed, TokenError
from tellin.client.authentication.agents import Agent
from tellin.client.authentication.tokens import SECURITY_KEY, TokenHelper
from tellin.errors import ConfigError, KeyFileError, RequestRefused
from tellin.keys.certificates import Certificate, load_certificate
from tellin.keys.formats import MOST_BYTES
from tellin.keys.private import PrivateKey
from tellin.programs.agents.add_wishes import FATAL, Wishes, asked, tell
from tellin.programs.command import Failure, say_error
from tellin.runtime.files import read_file
from tellin.wire import Cursor

_FAILED: Final = 1


def change_module(agent: Agent, wishes: Wishes, paths: list[str]) -> int:
    """Have the agent use a module's keys (-s), or use them no more (-e)."""
    adding = wishes.mode == "s"
    # The agent's directory is another one than ours.
    provider = os.path.realpath(wishes.module)
    bounds = wishes.constraints()
    bounds = Constraints(
        bounds.lifetime,
        bounds.confirm,
        bounds.destinations,
        certificates=tuple(map(_certificate, paths)),
        certified_only=wishes.certified_only,
    )
    try:
        if adding:
            agent.add_module(provider, asked("Enter passphrase for PKCS#11: "), bounds)
        else:
            agent.remove_module(provider)
    except RequestRefused as error:
        doing = "add" if adding else "remove"
        tell(f'Could not {doing} card "{wishes.module}": {error}')
        return _FAILED
    wishes.say(f"Card {'added' if adding else 'removed'}: {wishes.module}")
    return 0


def _certificate(path: str) -> Certificate:
    try:
        return load_certificate(read_file(path, limit=MOST_BYTES))
    except OSError as error:
        raise Failure(f"load {path}: {error.strerror}", status=FATAL) from None
    except (KeyFileError, ConfigError) as error:
        raise Failure(f"load {path}: {error}", status=FATAL) from None


def add_resident(agent: Agent, wishes: Wishes) -> int:
    """Add the keys that a security key remembers (-K)."""
    pin = asked("Enter PIN for authenticator: ")
    with TokenHelper(SECURITY_KEY) as helper:
        try:
            listed = helper.ask(ListResident(wishes.provider, pin))
        except TokenError as error:
            raise Failure(
                f"Unable to load resident keys: {error}", status=_FAILED, hint=error.hint
            ) from None
    bounds = wishes.constraints()
    status = _FAILED
    for one in listed.keys if isinstance(listed, ResidentListed) else ():
        key = PrivateKey.read(Cursor(one.key))
        name = f"{key.public.key_type} {key.public.fingerprint(wishes.hash_name)}"
        try:
            agent.add(
                key,
                lifetime=bounds.lifetime,
                confirm=bounds.confirm,
                destinations=bounds.destinations,
                provider=wishes.provider,
            )
        except RequestRefused:
            say_error(f"Unable to add key {name}")
            continue
        status = 0
        wishes.say(f"Resident identity added: {name}")
        wishes.say_bounds(bounds.lifetime)
    return status
