# SPDX-License-Identifier: MIT
"""Which host keys a program trusts: what it says, turned into records and a policy."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from tellin.client.arguments import Path
from tellin.client.hosts.host_keys import Beside, HostKeyPolicy, Revocations, Sources
from tellin.client.hosts.records import FileRecords, HostPlace
from tellin.client.questions import HostKeyQuestion
from tellin.config.known_hosts import HostKeyState, KnownHosts, Lookup, make_line
from tellin.config.ssh_config import SshConfig
from tellin.errors import HostKeyUnknown, UsageError
from tellin.keys.public import PublicKey
from tellin.runtime.journal import Journal

AskHostKey: TypeAlias = Callable[[HostKeyQuestion], bool | Awaitable[bool]]
"""Whether an unknown host's key is right; only True lets it in."""

HostKeys: TypeAlias = HostKeyPolicy | PublicKey | Iterable[PublicKey] | AskHostKey | None
"""A policy, the keys the server may have, or whom to ask about a host without record."""

KnownHostsSource: TypeAlias = KnownHosts | Path | Sequence[Path] | None
"""Records, or the files that hold them; the first file takes what is new."""


RevokedHostKeys: TypeAlias = Revocations | Path | Sequence[Revocations | Path]
"""Revoked keys: lists of them, or files as RevokedHostKeys names them."""


class PinnedKeys(KnownHosts):
    """The keys that a program names for one server."""

    def __init__(self, place: HostPlace, keys: tuple[PublicKey, ...]) -> None:
        super().__init__()
        self._place = place
        self._keys = keys
        self._written = False

    def types(self, names: Sequence[str]) -> frozenset[str]:
        """Those of the keys that were named."""
        return frozenset(key.key_type for key in self._keys)

    def lookup(
        self,
        names: Sequence[str],
        key_blob: bytes,
        *,
        authority: bytes | None = None,
        match_only: Sequence[str] = (),
    ) -> Lookup:
        """The right key is told at once; for another one the lines are written out, to compare."""
        if any(key.blob == key_blob for key in self._keys):
            return Lookup(HostKeyState.MATCHES, None, (), (), ())
        if not self._written:
            self._written = True
            for key in self._keys:
                line = make_line((self._place.name,), key.key_type, key.blob)
                self.add(line, file="host_keys")
        return super().lookup(names, key_blob, authority=authority, match_only=match_only)


class Trust:
    """What was said about host keys, before anything is read."""

    def __init__(self, host_keys: HostKeys, known_hosts: KnownHostsSource) -> None:
        self.policy: HostKeyPolicy | None = None
        self.ask: AskHostKey | None = None
        self.pinned: tuple[PublicKey, ...] = ()
        self.known: KnownHosts | None = (
            known_hosts if isinstance(known_hosts, KnownHosts) else None
        )
        self.files: tuple[str, ...] | None = None
        if known_hosts is not None and self.known is None:
            assert not isinstance(known_hosts, KnownHosts)
            one = isinstance(known_hosts, str | os.PathLike)
            self.files = tuple(map(os.fspath, (known_hosts,) if one else known_hosts))  # type: ignore[arg-type]
        if isinstance(host_keys, HostKeyPolicy):
            self.policy = host_keys
        elif isinstance(host_keys, PublicKey):
            self._pin((host_keys,))
        elif callable(host_keys):
            self.policy, self.ask = HostKeyPolicy.ASK, host_keys
        elif host_keys is not None:
            self._pin(tuple(host_keys))
        elif known_hosts is not None:
            # Whoever names the records means them.
            self.policy = HostKeyPolicy.STRICT

    def without_pins(self) -> "Trust":
        """The same for another host: keys that were named are one host's alone."""
        if not self.pinned:
            return self
        other = Trust(None, None)
        other.known, other.files = self.known, self.files
        return other

    def _pin(self, keys: tuple[PublicKey, ...]) -> None:
        if not keys or not all(isinstance(key, PublicKey) for key in keys):
            raise UsageError(
                "host_keys takes a HostKeyPolicy, public keys, or a function to ask",
                hint="load_public_key() reads a .pub file",
            )
        self.policy, self.pinned = HostKeyPolicy.STRICT, keys

    def chosen(self, config: SshConfig | None) -> HostKeyPolicy:
        """The policy; without one there is no connection (R016)."""
        if self.policy is not None:
            return self.policy
        if config is not None and config.is_set("strict_host_key_checking"):
            return HostKeyPolicy(config.strict_host_key_checking)
        raise HostKeyUnknown(
            "no host key policy was given",
            hint="host_keys=HostKeyPolicy.STRICT trusts the keys in known_hosts; others are"
            " ACCEPT_NEW, a public key, or a function that is asked",
        )

    @property
    def reads(self) -> bool:
        """Whether files have to be read."""
        return not self.pinned and self.known is None

    def sources(self, config: SshConfig | None) -> Sources | None:
        """Who else knows host keys; who names the keys or the records means those and no others."""
        wanted = config is not None and (
            config.known_hosts_command is not None or config.verify_host_key_dns != "no"
        )
        if config is None or not wanted or not self.reads or self.files is not None:
            return None
        # Few have any.
        from tellin.client.hosts.host_key_sources import HostKeySources  # noqa: PLC0415
        from tellin.runtime.surroundings import LocalSurroundings  # noqa: PLC0415  (rarely needed)

        return HostKeySources(config, LocalSurroundings(), Journal())

    def records(self, place: HostPlace, config: SshConfig | None) -> "LoadedRecords":
        """Everything that is on record; reads files, so not on a loop."""
        if self.pinned:
            return LoadedRecords(PinnedKeys(place, self.pinned), None)
        if self.known is not None:
            return LoadedRecords(self.known, None)
        user: tuple[str, ...] = self.files or ()
        everybody: tuple[str, ...] = ()
        if self.files is None and config is not None:
            user = config.user_known_hosts_file
            everybody = config.global_known_hosts_file
        files = FileRecords(user, everybody, Journal())
        return LoadedRecords(files.read(), files if user else None, user)


def read_revoked(source: RevokedHostKeys) -> list[tuple[str, Revocations]]:
    """The lists with their names; reads files, so not on a loop. Raises HostKeyRejected."""
    several = source if isinstance(source, Sequence) and not isinstance(source, str) else (source,)
    found: list[tuple[str, Revocations]] = []
    for one in several:
        if isinstance(one, str | os.PathLike):
            # Few have any.
            from tellin.client.hosts.revoked import revocation_lists  # noqa: PLC0415  (start-up time)

            found += revocation_lists([os.path.expanduser(os.fspath(one))])  # noqa: PTH111 - a text
        else:
            found.append(("of the program", one))
    return found


class Stored(Protocol):
    """Where new records last."""

    @property
    def place(self) -> str:
        """What it is called."""

    def add(self, line: str) -> None:
        """Write a line; takes its time."""


def beside_loop(flush: Callable[[], object]) -> Beside:
    """Has work done in a thread, and what comes of it taken in on the loop that runs."""
    loop = asyncio.get_running_loop()

    def run(work: Callable[[], Any], then: Callable[[Any], object]) -> None:
        def done(future: "asyncio.Future[Any]") -> None:
            if not future.cancelled():
                then(future.result())
                flush()

        loop.run_in_executor(None, work).add_done_callback(done)

    return run


class LoadedRecords:
    """Records that were read before the connection began; new ones are written beside the loop."""

    def __init__(
        self, known: KnownHosts, stored: Stored | None, files: Sequence[str] = ()
    ) -> None:
        self.known = known
        self.files = tuple(files)
        """The user's own files that it was read from."""
        self.stored = stored
        self.writing: list[asyncio.Future[None]] = []

    @property
    def place(self) -> str:
        """Where new records go."""
        return "known_hosts" if self.stored is None else self.stored.place

    def read(self) -> KnownHosts:
        """What is on record."""
        return self.known

    def add(self, line: str) -> None:
        """Record a line; ``settle`` waits until it lasts."""
        self.known.add(line, file=self.place)
        if self.stored is not None:
            loop = asyncio.get_running_loop()
            self.writing.append(loop.run_in_executor(None, self.stored.add, line))

    async def settle(self) -> None:
        """Wait for what is being written; raises what went wrong with it."""
        while self.writing:
            await self.writing.pop()
