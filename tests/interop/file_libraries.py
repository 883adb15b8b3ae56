# SPDX-License-Identifier: MIT
"""Libraries that move files, behind the verbs of ``file_clients``: each runs in a process of its own, told in JSON."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.interop.children import python
from tests.interop.file_clients import FileClient, Name
from tests.interop.servers import find

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / "build" / "peers" / "node_modules"


class LibraryClient(FileClient):
    """A library's client, in a script beside this file."""

    library = ""
    is_library = True

    def prepare(self) -> None:
        self.steps: list[list[object]] = []
        self.found: dict[str, list[str]] = {}

    def _step(self, verb: str, *words: Name | int, **flags: bool) -> None:
        # JSON has no bytes: each is a letter of Latin-1.
        told = [
            word if isinstance(word, int) else os.fsencode(word).decode("latin-1")
            for word in words
        ]
        self.steps.append([verb, told, [flag for flag, on in flags.items() if on]])

    def ls(self, name: Name) -> None:
        self._step("ls", name)

    def listed(self) -> set[bytes]:
        return {name.encode("latin-1") for name in self.found["names"]} - {b".", b".."}

    @property
    def texts(self) -> list[bytes]:
        return [text.encode("latin-1") for text in self.found["texts"]]

    def get(
        self,
        there: Name,
        here: Name,
        *,
        keep: bool = False,
        tree: bool = False,
        resume: bool = False,
    ) -> None:
        self._step("get", there, here, keep=keep, tree=tree, resume=resume)

    def put(
        self,
        here: Name,
        there: Name,
        *,
        keep: bool = False,
        tree: bool = False,
        resume: bool = False,
    ) -> None:
        self._step("put", here, there, keep=keep, tree=tree, resume=resume)

    def rename(self, old: Name, new: Name) -> None:
        self._step("rename", old, new)

    def symlink(self, text: Name, link: Name) -> None:
        self._step("symlink", text, link)

    def readlink(self, name: Name) -> None:
        self._step("readlink", name)

    def link(self, old: Name, new: Name) -> None:
        self._step("link", old, new)

    def copy(self, old: Name, new: Name) -> None:
        self._step("copy", old, new)

    def chmod(self, mode: int, name: Name) -> None:
        self._step("chmod", mode, name)

    def mkdir(self, name: Name) -> None:
        self._step("mkdir", name)

    def rmdir(self, name: Name) -> None:
        self._step("rmdir", name)

    def rm(self, name: Name) -> None:
        self._step("rm", name)

    def room(self) -> None:
        self._step("room")

    def argv(self) -> Sequence[str | Path]:
        return [python(), "-P", HERE / "library_files.py"]

    def environment(self) -> Mapping[str, str]:
        return {}

    def run(self) -> None:
        assert self.target.identity is not None
        told = {
            "library": self.library or self.name,
            "host": self.target.host,
            "port": self.target.port,
            "user": self.target.user,
            "known_hosts": self.target.known_hosts(),
            "identity": str(self.target.identity.path),
            "here": str(self.here),
            "there": str(self.there),
            "steps": self.steps,
        }
        said = self.call(self.argv(), text=json.dumps(told).encode(), env=self.environment())
        self.found = json.loads(said)


class TellinLibrary(LibraryClient):
    name = "tellin"


class Paramiko(LibraryClient):
    name = "paramiko"
    peers = ("paramiko",)


class AsyncSSH(LibraryClient):
    name = "asyncssh"
    peers = ("asyncssh",)


class AsyncSSHScp(LibraryClient):
    name = "asyncssh scp"
    peers = ("asyncssh",)


class Ssh2Python(LibraryClient):
    name = "ssh2-python"
    peers = ("ssh2-python",)


class ParallelSSH(LibraryClient):
    name = "parallel-ssh"
    peers = ("parallel-ssh",)


class NodeClient(LibraryClient):
    """npm's libraries, on Node."""

    peers = ("ssh2",)

    def argv(self) -> Sequence[str | Path]:
        return [find("node"), HERE / "ssh2_files.js"]

    def environment(self) -> Mapping[str, str]:
        return {"NODE_PATH": str(MODULES)}


class Ssh2(NodeClient):
    name = "ssh2"


class Ssh2SftpClient(NodeClient):
    name = "ssh2-sftp-client"
    peers = ("ssh2", "ssh2-sftp-client")
