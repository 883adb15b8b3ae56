# SPDX-License-Identifier: MIT
"""What a configuration may ask of the machine it is read on."""

from collections.abc import Mapping, Sequence

from tellin.config.locations import locations
from tellin.wire import Record


class FileStatus(Record):
    """Whose a file is, and what others may do with it."""

    uid: int
    mode: int


class Surroundings:
    """Everything outside the text: files, the user, the network, a shell.

    This class is a machine with nothing on it, to derive from: `tellin.runtime.surroundings` has
    the real one, and tests write their own.
    """

    def __init__(
        self,
        *,
        user: str = "",
        home: str = "",
        uid: int = 0,
        host: str = "",
        environment: Mapping[str, str] | None = None,
        system: str = "linux",
    ) -> None:
        self.user = user
        self.home = home
        self.uid = uid
        self.host = host
        self.environment = environment or {}
        self.locations = locations(system, self.environment, home)

    def read(self, path: str, *, guarded: bool = False) -> str | None:
        """The text of a file, or None if there is none; any other trouble is a ConfigError.

        Of a ``guarded`` file it is refused that others than its owner may write it.
        """
        return None

    def glob(self, pattern: str) -> Sequence[str]:
        """The paths that fit a shell pattern, sorted."""
        return ()

    def status(self, path: str) -> FileStatus | None:
        """Whose a file or directory is, links followed; None if there is none to be seen."""
        return None

    def run(self, command: str) -> bool:
        """Whether a command, run by the user's shell, ends with success."""
        return False

    def home_of(self, user: str) -> str | None:
        """The home directory of another user, or None if there is no such user."""
        return None

    def addresses(self) -> Sequence[str]:
        """The addresses of this machine's interfaces."""
        return ()

    def canonical_name(self, host: str) -> str | None:
        """The name that a host's name leads to in the end (CNAME), or None if nobody knows it."""
        return None
