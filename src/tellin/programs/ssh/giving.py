# SPDX-License-Identifier: MIT
"""AddKeysToAgent: a key that was read from a file goes on to the agent, on the user's terms."""

import os

from tellin.client.authentication.agents import Agent
from tellin.config.ssh_config import SshConfig
from tellin.errors import ConnectFailed, TellinError
from tellin.keys.private import PrivateKey
from tellin.programs.agents.agent_asking import somebody_to_ask
from tellin.runtime.journal import Journal
from tellin.runtime.prompts import ask
from tellin.userauth.text import escape_text


def give_to_agent(
    private: PrivateKey,
    path: str,
    config: SshConfig,
    journal: Journal,
) -> None:
    """Have the agent keep the key; without one, or without consent, nothing happens."""
    place = config.agent_path(os.environ)
    wanted = config.add_keys_to_agent
    if place is None:
        journal.debug3("no authentication agent, not adding key")
        return
    name = private.comment or path
    question = f"Add key {escape_text(path)} ({escape_text(name)}) to agent?"
    if wanted.how == "ask" and not _permits(question):
        journal.debug3("user denied adding this key")
        return
    try:
        with Agent.connect(place) as agent:
            agent.add(
                private.with_comment(name),
                lifetime=wanted.lifetime or None,
                confirm=wanted.how == "confirm",
            )
    except ConnectFailed:
        journal.debug3("no authentication agent, not adding key")
    except TellinError as error:
        journal.debug(f"could not add identity to agent: {path} ({error})")
    else:
        journal.debug(f"identity added to agent: {path}")


def _permits(question: str) -> bool:
    # By the SSH_ASKPASS program alone, as OpenSSH: the terminal may have its mind on a login.
    if not somebody_to_ask():
        return False
    forced = {**os.environ, "SSH_ASKPASS_REQUIRE": "force"}
    answer = ask(question, confirm=True, environment=forced)
    return answer is not None and answer.lower() in {"", "yes"}
