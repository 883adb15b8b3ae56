# SPDX-License-Identifier: MIT
"""The SSH implementations that tellin is held against, and which of them are here.

    with OpenSSHServer(tmp_path) as server:
        done = ParamikoClient(tmp_path).run(server.target, "cat", input=b"...")

Clients take any ``Target``, so a server of tellin's is one too. A test says whom it needs by
``@pytest.mark.peer("sshd", "plink")``: missing ones skip it by name, and fail it where CI is set.
"""

import grp
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.interop.clients import (
    AsyncSSHClient,
    Client,
    DropbearClient,
    OpenSSHClient,
    ParamikoClient,
    PlinkClient,
    Ssh2Client,
)
from tests.interop.offers import Offer, offer_of_client, offer_of_server
from tests.interop.servers import (
    NSS_WRAPPER,
    Account,
    AsyncSSHServer,
    DropbearServer,
    OpenSSHServer,
    ParamikoServer,
    Server,
    find,
)
from tests.interop.softhsm import MODULE
from tests.interop.target import KEY_KINDS, Algorithms, Completed, KeyFile, Target, make_key

__all__ = [
    "CLIENTS",
    "KEY_KINDS",
    "SERVERS",
    "SFTP_SERVER",
    "TERMINALS_OF_SSHD",
    "Account",
    "Algorithms",
    "AsyncSSHClient",
    "AsyncSSHServer",
    "Client",
    "Completed",
    "DropbearClient",
    "DropbearServer",
    "KeyFile",
    "Offer",
    "OpenSSHClient",
    "OpenSSHServer",
    "ParamikoClient",
    "ParamikoServer",
    "PlinkClient",
    "Server",
    "Ssh2Client",
    "Target",
    "make_key",
    "missing",
    "no_terminals_of_sshd",
    "offer_of_client",
    "offer_of_server",
]

CLIENTS: dict[str, type[Client]] = {
    kind.name: kind
    for kind in (
        OpenSSHClient,
        DropbearClient,
        PlinkClient,
        AsyncSSHClient,
        ParamikoClient,
        Ssh2Client,
    )
}
SERVERS: dict[str, type[Server]] = {
    kind.name: kind for kind in (OpenSSHServer, DropbearServer, AsyncSSHServer, ParamikoServer)
}

_ROOT = Path(__file__).parents[2]
SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")


def _programs(*names: str) -> Callable[[], str]:
    def look() -> str:
        for name in names:
            try:
                find(name)
            except FileNotFoundError:
                return f"no {name} here"
        return ""

    return look


def _module(name: str) -> Callable[[], str]:
    return lambda: "" if importlib.util.find_spec(name) else f"no Python package {name} here"


def _dropbear() -> str:
    return _programs("dropbear", "dropbearconvert")() or (
        "" if NSS_WRAPPER else "no libnss_wrapper.so here"
    )


def _ssh2() -> str:
    if shutil.which("node") is None:
        return "no node here"
    there = (_ROOT / "build" / "peers" / "node_modules" / "ssh2").is_dir()
    return "" if there else "npm's ssh2 is not in build/peers (run tests/install_peers.sh)"


def _sftp_client() -> str:
    there = (_ROOT / "build" / "peers" / "node_modules" / "ssh2-sftp-client").is_dir()
    return "" if there else "npm's ssh2-sftp-client is not in build/peers"


def _softhsm() -> str:
    if not MODULE:
        return "no libsofthsm2.so here"
    return _programs("softhsm2-util")() or _module("pkcs11")()


def _sftp_server() -> str:
    return "" if SFTP_SERVER.exists() else "no sftp-server of OpenSSH's here"


def _curl() -> str:
    if not shutil.which("curl"):
        return "no curl here"
    said = subprocess.run(["curl", "--version"], capture_output=True, check=False).stdout
    return "" if b" sftp " in said else "curl here knows no sftp"


_CHECKS: dict[str, Callable[[], str]] = {
    "softhsm": _softhsm,
    "fido2": _module("fido2"),
    "openssh": _programs("ssh", "sshd"),
    "ssh": _programs("ssh"),
    "sshd": _programs("sshd"),
    "ssh-keygen": _programs("ssh-keygen"),
    "ssh-agent": _programs("ssh-agent", "ssh-add"),
    "nc": _programs("nc"),
    "xvfb": _programs("Xvfb", "xauth", "xdpyinfo"),
    "dropbear": _dropbear,
    "dbclient": _programs("dbclient", "dropbearconvert"),
    "plink": _programs("plink", "puttygen"),
    "psftp": _programs("psftp", "puttygen"),
    "pscp": _programs("pscp", "puttygen"),
    "scp": _programs("scp"),
    "curl": _curl,
    "lftp": _programs("lftp"),
    "rclone": _programs("rclone"),
    "sshfs": _programs("sshfs", "fusermount3"),
    "git": _programs("git"),
    "rsync": _programs("rsync"),
    "sftp": _programs("sftp"),
    "sftp-server": _sftp_server,
    "asyncssh": _module("asyncssh"),
    "paramiko": _module("paramiko"),
    "ssh-audit": _module("ssh_audit"),
    "ssh2": _ssh2,
    "ssh2-sftp-client": _sftp_client,
    "ssh2-python": _module("ssh2"),
    "parallel-ssh": _module("pssh"),
    "vim": lambda: "" if shutil.which("vim") or shutil.which("vim.tiny") else "no vim here",
}


def missing(name: str) -> str:
    """Why the peer ``name`` cannot be used here, or ""; an unknown name is a mistake of the test."""
    return _CHECKS[name]()


def no_terminals_of_sshd() -> str:
    """Why an sshd run by us cannot give terminals, or "".

    It hands each one to the group tty, which only root may, unless /dev/pts is mounted that way.
    """
    outer, inner = os.openpty()
    try:
        given = os.fstat(inner).st_gid == grp.getgrnam("tty").gr_gid
    finally:
        os.close(outer)
        os.close(inner)
    if given or os.geteuid() == 0:
        return ""
    return "sshd run by an ordinary user gives no terminals here: /dev/pts is not mounted with gid=tty"


# For a test whose sessions have terminals, on an sshd that we run.
TERMINALS_OF_SSHD = pytest.mark.skipif(
    bool(no_terminals_of_sshd()), reason=no_terminals_of_sshd() or "there are some"
)
