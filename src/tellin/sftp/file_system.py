# SPDX-License-Identifier: MIT
"""What a file server serves from: interfaces, for this machine's files or anything that is like files.

Every method raises OSError for what cannot be done; the client is told as much of it as version 3
has codes for. Paths are bytes without NUL, as the client sent them; with or without a ``/`` before.

The methods are plain functions. A login's own process calls them as the requests come; a server within an
event loop does so in threads where they may wait, for one session one after the other.
"""

from collections.abc import Sequence
from typing import Protocol

from tellin.sftp.attributes import Attributes
from tellin.sftp.messages import Entry, Statistics


class OpenFile(Protocol):
    """A file that a client has open."""

    def fill(self, view: memoryview, offset: int) -> int:
        """Read into all of ``view``, or as far as the file goes; 0 is its end."""

    def write(self, view: memoryview, offset: int) -> None:
        """Write all of ``view``, which is dead afterwards."""

    def stat(self) -> Attributes:
        """What is known of it."""

    def change(self, attributes: Attributes) -> None:
        """Change what is given."""

    def sync(self) -> None:
        """Bring what was written to the disk."""

    def statistics(self) -> Statistics:
        """The room in its file system."""

    def copy_from(self, source: "OpenFile", start: int, length: int, offset: int) -> None:
        """Copy ``length`` bytes, or all to the end for 0; never from a file to itself."""

    def close(self) -> None:
        """Close it; what could not be written is said here at the latest."""


class Listing(Protocol):
    """A directory that is being read."""

    def entries(self, most: int) -> Sequence[Entry]:
        """The next ones; none at the end."""

    def close(self) -> None:
        """Read no further."""


class FileSystem(Protocol):
    """A tree of files."""

    @property
    def waits(self) -> bool:
        """Whether anything here waits for a disk or a network; then event loops call it in threads."""

    def open(self, path: bytes, flags: int, mode: int) -> OpenFile:
        """Open a file by the flags of OPEN; ``mode`` is for one that is made."""

    def scan(self, path: bytes) -> Listing:
        """Begin to read a directory."""

    def stat(self, path: bytes, *, follow: bool) -> Attributes:
        """What is known of a path, or of the link itself."""

    def change(self, path: bytes, attributes: Attributes, *, follow: bool) -> None:
        """Change what is given."""

    def remove(self, path: bytes) -> None:
        """Remove a file."""

    def make_directory(self, path: bytes, mode: int) -> None:
        """Make a directory."""

    def remove_directory(self, path: bytes) -> None:
        """Remove an empty directory."""

    def rename(self, old: bytes, new: bytes, *, replace: bool) -> None:
        """Give another name; without ``replace`` only one that nothing has."""

    def read_link(self, path: bytes) -> bytes:
        """Where a link leads."""

    def symlink(self, target: bytes, path: bytes) -> None:
        """Make a link at ``path``."""

    def link(self, old: bytes, new: bytes) -> None:
        """Give another name besides."""

    def real_path(self, path: bytes, *, expand: bool) -> bytes:
        """The path from the root on, without links; with ``expand`` ~ and ~user are homes.

        The last part of it need not be there.
        """

    def home(self, user: bytes) -> bytes:
        """A user's home; without a name, that of whoever is served."""

    def names(self, uids: Sequence[int], gids: Sequence[int]) -> tuple[list[bytes], list[bytes]]:
        """The names of users and groups; empty for those that there are not."""

    def statistics(self, path: bytes) -> Statistics:
        """The room in the file system of a path."""
