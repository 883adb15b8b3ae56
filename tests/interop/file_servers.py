# SPDX-License-Identifier: MIT
"""The servers that files are moved at, each with what its files are served by."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.interop.peers import SFTP_SERVER, AsyncSSHServer, DropbearServer, OpenSSHServer
from tests.interop.servers import HERE, ParamikoServer, ScriptServer, Server, find
from tests.interop.tellin_peer import TellinServer


class Ssh2Server(ScriptServer):
    """npm's ssh2: files alone."""

    name = "ssh2"

    def argv(self) -> Sequence[str | Path]:
        return [find("node"), HERE / "ssh2_server.js", super().argv()[-1]]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "NODE_PATH": str(HERE.parents[1] / "build/peers/node_modules")}


def tellin_with_its_scp(directory: Path) -> TellinServer:
    """The ``scp`` that a shell finds there is tellin's too."""
    programs = directory / "programs"
    programs.mkdir()
    (programs / "scp").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m tellin scp "$@"\n')
    (programs / "scp").chmod(0o755)
    options = {
        "SetEnv": f"PATH={programs}:/usr/bin:/bin",
        # libssh2 1.10 knows no MAC over what is encrypted.
        "MACs": "+hmac-sha2-256",
    }
    return TellinServer(directory, options=options)


FILE_SERVERS: dict[str, Callable[[Path], Server]] = {
    "sshd": lambda place: OpenSSHServer(place, options={"Subsystem": f"sftp {SFTP_SERVER}"}),
    "dropbear": DropbearServer,
    "asyncssh": lambda place: AsyncSSHServer(place, options={"allow_scp": True}),
    "paramiko": ParamikoServer,
    "ssh2": Ssh2Server,
    "tellin": tellin_with_its_scp,
}
