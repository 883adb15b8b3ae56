# SPDX-License-Identifier: MIT
"""A machine made of a dictionary."""

import fnmatch
from collections.abc import Callable, Mapping, Sequence

from tellin.config.surroundings import FileStatus, Surroundings
from tellin.errors import ConfigError


class PaperMachine(Surroundings):
    """Files are texts by path; a text of None is a file that cannot be read."""

    def __init__(
        self,
        files: Mapping[str, str | None],
        *,
        system: str = "linux",
        home: str = "/home/me",
        **environment: str,
    ) -> None:
        super().__init__(
            user="me",
            home=home,
            uid=1000,
            host="box.example.org",
            environment=environment,
            system=system,
        )
        self.files = dict(files)
        self.ran: list[str] = []
        self.succeeds: Callable[[str], bool] = lambda command: command.startswith("true")
        self.local_addresses: Sequence[str] = ("127.0.0.1", "192.0.2.7", "2001:db8::7")
        self.guarded: list[str] = []
        self.names: dict[str, str] = {}
        self.statuses: dict[str, FileStatus] = {}
        self.looked_up: list[str] = []

    def read(self, path: str, *, guarded: bool = False) -> str | None:
        if guarded:
            self.guarded.append(path)
        if path not in self.files:
            return None
        text = self.files[path]
        if text is None:
            raise ConfigError("cannot be read", file=path)
        return text

    def glob(self, pattern: str) -> Sequence[str]:
        return sorted(path for path in self.files if fnmatch.fnmatchcase(path, pattern))

    def status(self, path: str) -> FileStatus | None:
        return self.statuses.get(path)

    def run(self, command: str) -> bool:
        self.ran.append(command)
        return self.succeeds(command)

    def home_of(self, user: str) -> str | None:
        return {"root": "/root", "me": "/home/me"}.get(user)

    def addresses(self) -> Sequence[str]:
        return self.local_addresses

    def canonical_name(self, host: str) -> str | None:
        self.looked_up.append(host)
        return self.names.get(host)


USER = "/home/me/.ssh/config"
SYSTEM = "/etc/ssh/ssh_config"


def paper(text: str, **environment: str) -> PaperMachine:
    """A machine whose user has this ssh_config."""
    return PaperMachine({USER: text}, **environment)
