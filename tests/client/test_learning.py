# SPDX-License-Identifier: MIT
"""UpdateHostKeys in a program: whose files are brought up to date, and whose are not."""

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.library import HOST_KEY, OTHER_KEY, USER_KEY, awaited, serving

import tellin
from tellin.client import attempt
from tellin.config.known_hosts import KnownHosts
from tellin.keys import PrivateKey
from tellin.runtime.surroundings import LocalSurroundings

MORE = PrivateKey.generate("ecdsa")
# Two of which one is on record; the server has these.
KEYS = [HOST_KEY, MORE]


def record(server: tellin.Server, key: PrivateKey, name: str = "127.0.0.1") -> str:
    return f"[{name}]:{server.port} {' '.join(key.public.to_line().split()[:2])}\n"


class Person:
    """A home directory with known hosts and a configuration."""

    def __init__(self, home: Path) -> None:
        self.place = home / ".ssh"
        self.place.mkdir(mode=0o700)
        self.known = self.place / "known_hosts"
        self.second = self.place / "known_hosts2"
        self.config = self.place / "config"

    def writes(self, *lines: str) -> None:
        # What this machine's own configuration says is nobody's business here.
        self.config.write_text(
            "\n".join(("GlobalKnownHostsFile none", "HashKnownHosts no", *lines)) + "\n"
        )


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    here = functools.partial(LocalSurroundings, home=str(tmp_path))
    monkeypatch.setattr(attempt, "LocalSurroundings", here)
    return Person(tmp_path)


async def visit(
    server: tellin.Server, until: Callable[[], object] | None = None, **options: Any
) -> None:
    """Log in and stay until ``until``; without it the server's list of keys has to be left unread."""
    options = {"host_keys": tellin.HostKeyPolicy.STRICT, "config": "default", **options}
    async with tellin.connect(
        "127.0.0.1", port=server.port, user="someone", keys=[USER_KEY], **options
    ) as connection:
        # The list comes right behind the login.
        await connection.ping()
        assert (connection._driver.learning._updates is None) is (until is None)
        while until is not None and not until():  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.01)


@awaited
async def test_the_customary_file_learns_what_the_server_proves(person: Person) -> None:
    person.writes()
    async with serving(host_keys=KEYS) as server:
        gone = record(server, OTHER_KEY)
        person.known.write_text(f"# mine\n{record(server, HOST_KEY)}{gone}")
        wanted = f"# mine\n{record(server, HOST_KEY)}{record(server, MORE)}"
        await visit(server, lambda: person.known.read_text() == wanted)


@pytest.mark.parametrize(
    "line",
    [
        "UpdateHostKeys no",
        "UpdateHostKeys ask",  # and there is nobody to ask
        "VerifyHostKeyDNS ask",
        "UserKnownHostsFile {known}",
        "GlobalKnownHostsFile {known}\n  UserKnownHostsFile none\n  UpdateHostKeys yes",
    ],
)
@awaited
async def test_where_ssh_would_not_learn_nothing_is_learnt(person: Person, line: str) -> None:
    person.writes()
    own = person.config.read_text()
    person.config.write_text(line.format(known=person.known) + f"\n{own}")
    async with serving(host_keys=KEYS) as server:
        person.known.write_text(record(server, HOST_KEY))
        before = person.known.stat()
        await visit(server)
        assert person.known.read_text() == record(server, HOST_KEY)
        assert person.known.stat() == before


@awaited
async def test_a_file_of_one_s_own_learns_where_that_is_said(person: Person) -> None:
    person.writes("UpdateHostKeys yes")
    mine = person.place / "mine"
    async with serving(host_keys=KEYS) as server:
        mine.write_text(record(server, HOST_KEY))
        both = record(server, HOST_KEY) + record(server, MORE)
        await visit(server, lambda: mine.read_text() == both, known_hosts=mine)
        assert not person.known.exists()


@pytest.mark.parametrize("what", ["file", "records", "keys", "no file", "no configuration"])
@awaited
async def test_what_a_program_trusts_by_itself_is_not_written_anywhere(
    person: Person, what: str
) -> None:
    person.writes()
    async with serving(host_keys=KEYS) as server:
        text = record(server, HOST_KEY)
        mine = person.place / "mine"
        mine.write_text(text)
        person.known.write_text(text)
        trusted: dict[str, dict[str, Any]] = {
            "file": {"known_hosts": mine},
            "records": {"known_hosts": KnownHosts.parse(text), "host_keys": None},
            "keys": {"host_keys": [HOST_KEY.public]},
            "no file": {"known_hosts": [], "host_keys": lambda question: True},
            "no configuration": {"config": None, "known_hosts": mine},
        }
        await visit(server, **trusted[what])
        assert (mine.read_text(), person.known.read_text()) == (text, text)
        assert sorted(path.name for path in person.place.iterdir()) == [
            "config", "known_hosts", "mine",
        ]  # fmt: skip


@pytest.mark.parametrize("policy", ["accept-new", "no"])
@awaited
async def test_a_host_that_nobody_has_confirmed_teaches_nothing(
    person: Person, policy: str
) -> None:
    person.writes()
    async with serving(host_keys=KEYS) as server:
        await visit(server, host_keys=tellin.HostKeyPolicy(policy))
        assert person.known.read_text() == record(server, HOST_KEY)


@awaited
async def test_a_host_that_somebody_has_confirmed_is_recorded_once_and_with_all_its_keys(
    person: Person,
) -> None:
    person.writes()
    async with serving(host_keys=KEYS) as server:
        both = {record(server, HOST_KEY), record(server, MORE)}
        await visit(
            server,
            lambda: {*person.known.read_text().splitlines(keepends=True)} == both,
            host_keys=lambda question: True,
        )
        assert len(person.known.read_text().splitlines()) == 2


@awaited
async def test_a_changed_key_that_is_let_in_teaches_nothing(person: Person) -> None:
    person.writes()
    async with serving(host_keys=KEYS) as server:
        # Of the type that is asked for first, so that this is the one that is shown.
        text = record(server, OTHER_KEY)
        person.known.write_text(text)
        await visit(server, host_keys=tellin.HostKeyPolicy.OFF)
        assert person.known.read_text() == text
