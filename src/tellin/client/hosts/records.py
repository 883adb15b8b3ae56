# SPDX-License-Identifier: MIT
"""Where host keys are on record, and under which names a server is looked up.

Apart from the check of a key, because a client reads this before it has said a word: the kinds of
keys that it knows come first in what it asks for.
"""

import os
from collections.abc import Sequence
from typing import Final, Protocol

from tellin.config.known_hosts import KnownHosts, Marker, host_name
from tellin.runtime.files import append_line, make_private_directory, read_text
from tellin.runtime.journal import Journal
from tellin.wire import Record


class HostPlace(Record):
    """Under which names a server is looked up."""

    host: str
    port: int = 22
    alias: str = ""
    address: str = ""  # known when we are connected to it ourselves
    check_address: bool = False

    @property
    def name(self) -> str:
        """The name in known_hosts: an alias stands as it is, whatever the port."""
        return self.alias.lower() if self.alias else host_name(self.host, self.port)

    @property
    def is_local(self) -> bool:
        """Whether it is this machine, by an address that is every machine's own."""
        return self.address == "::1" or self.address.startswith("127.")

    @property
    def portless(self) -> tuple[str, ...]:
        """A name under which a match counts, and a different key is no alarm, as OpenSSH has it."""
        return () if self.alias or self.port == 22 else (host_name(self.host),)

    @property
    def address_name(self) -> str:
        """The address as known_hosts writes it."""
        return host_name(self.address, self.port) if self.address else ""

    @property
    def names(self) -> tuple[str, ...]:
        """All names to record a new key under."""
        tells = self.check_address and not self.is_local
        if tells and self.address_name not in {"", self.name}:
            return (self.name, self.address_name)
        return (self.name,)


class Records(Protocol):
    """Where host keys are on record."""

    def read(self) -> KnownHosts:
        """All that is on record now."""

    def add(self, line: str) -> None:
        """Record a line of known_hosts; raises OSError or TellinError."""

    @property
    def place(self) -> str:
        """Where ``add`` puts it, for messages."""


class FileRecords:
    """known_hosts files: the user's, of which the first takes what is new, and everybody's."""

    def __init__(self, user: Sequence[str], everybody: Sequence[str], journal: Journal) -> None:
        self._user = tuple(user)
        self._everybody = tuple(everybody)
        self._journal = journal
        self._found: KnownHosts | None = None

    def read(self) -> KnownHosts:
        """Read all of them, once; a file that is not there holds nothing."""
        if self._found is None:
            self._found = self._read()
        return self._found

    def _read(self) -> KnownHosts:
        found = KnownHosts()
        for path in (*self._user, *self._everybody):
            try:
                text = read_text(path)
            except OSError as error:
                if self._journal.debugs:
                    self._journal.debug(f"load_hostkeys: fopen {path}: {error.strerror}")
            else:
                if text:
                    found.add(text, file=path)
        return found

    @property
    def place(self) -> str:
        """The user's first file."""
        return self._user[0] if self._user else ""

    def add(self, line: str) -> None:
        """Write behind the others, under a lock."""
        if self._user:
            make_private_directory(os.path.dirname(self.place) or ".")  # noqa: PTH120 (start-up)
            append_line(self.place, line)
            self._found = None


class MemoryRecords:
    """Records that a program holds itself: the text of a known_hosts file."""

    place = "known hosts"

    def __init__(self, text: str = "") -> None:
        self.text = text

    def read(self) -> KnownHosts:
        """The records of the text."""
        return KnownHosts.parse(self.text, file=self.place)

    def add(self, line: str) -> None:
        """Put the line behind the text."""
        self.text += line + "\n"


AUTHORITY: Final = Marker.CERT_AUTHORITY.value
"""Among the types that are known: somebody may sign the server's certificates."""


def known_types(known: KnownHosts, place: HostPlace) -> frozenset[str]:
    """The types of the keys that are on record for a server and not revoked, and ``AUTHORITY``."""
    return known.types((place.name, *place.portless))
