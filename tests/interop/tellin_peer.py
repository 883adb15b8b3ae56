# SPDX-License-Identifier: MIT
"""tellin's own programs, in the shape of the peers: a server with a ``target``, a client with ``run``.

    with TellinServer(tmp_path) as server:
        done = OpenSSHClient(tmp_path).run(server.target, "cat", input=b"...")

Each is a process of its own, started as a user would start it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.interop.children import descendants, python
from tests.interop.clients import ANY, OpenSSHClient
from tests.interop.servers import Account, Server
from tests.interop.target import LOOPBACK, Algorithms, KeyFile, Target

from tellin.client.connect import connect
from tellin.keys import load_private_key, load_public_key

# -P: what lies in the directory of a test is no module of tellin's.
TELLIN: tuple[str, ...] = (python(), "-P", "-m", "tellin")
RELOADED = "Received SIGHUP; restarting."
# What tellin is and needs, for an account to which this checkout is closed.
PACKAGES = ("tellin", "cryptography", "bcrypt", "_cffi_backend", "cffi", "pycparser")


def tellin(*words: str | Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    """Run one of tellin's programs to its end; ``options`` are those of ``subprocess.run``."""
    settings = {"capture_output": True, "timeout": 60, "check": False} | options
    return subprocess.run([*TELLIN, *map(str, words)], **settings)  # type: ignore[call-overload,no-any-return]  # noqa: PLW1510


class TellinServer(Server):
    """tellin sshd; ``options`` are lines of sshd_config, a list for a repeated keyword."""

    name = "tellin"
    serves_passwords = False  # only root's, and only for an account

    def argv(self) -> Sequence[str | Path]:
        authorized = self.directory / "authorized_keys"
        if not authorized.exists():
            authorized.write_text(self.identity.public + "\n", "ascii")
        config = self.configure(self.options)
        if self.account:
            self.account.own(authorized, config)
        return [*self.program(), "sshd", "-D", "-e", "-f", config]

    def configure(self, options: Mapping[str, object]) -> Path:
        """Write sshd_config, with ``options`` over what every test gets."""
        settings: dict[str, object] = {
            "Port": self.port,
            "ListenAddress": LOOPBACK,
            "HostKey": [key.path for key in self.host_keys],
            "AuthorizedKeysFile": self.directory / "authorized_keys",
            "PidFile": "none",
            "StrictModes": "no",
            "PermitRootLogin": "yes",
            "PasswordAuthentication": "yes" if self.account else "no",
            "KbdInteractiveAuthentication": "no",
            "LogLevel": "VERBOSE",
            "MaxStartups": "200:30:400",
            "Subsystem": ["sftp internal-sftp", "echo /bin/cat"],
            "AcceptEnv": "TELLIN_*",
        } | dict(options)
        lines = [
            f"{keyword} {value}"
            for keyword, values in settings.items()
            for value in (values if isinstance(values, list) else [values])
        ]
        config = self.directory / "sshd_config"
        # In one step: a server that reads it at this moment must not see half of it.
        fresh = config.with_suffix(".new")
        fresh.write_text("\n".join(lines) + "\n", "utf-8")
        fresh.rename(config)
        return config

    def program(self) -> Sequence[str | Path]:
        return self._borrowed()[0] if self.account and self.unprivileged else TELLIN

    def environment(self) -> dict[str, str] | None:
        own = {**os.environ}
        if self.account and self.unprivileged:
            own |= self._borrowed()[1]
        return own

    def _borrowed(self) -> tuple[Sequence[str], Mapping[str, str]]:
        assert self.account is not None
        return within_reach(self.account)

    def reload(self, options: Mapping[str, object]) -> None:
        """Let it read another configuration; returns when new connections are served by that."""
        assert self.child is not None
        self.configure(options)
        before = self.log().count(RELOADED)
        self.child.process.send_signal(signal.SIGHUP)
        self.wait_for_log(RELOADED, count=before + 1)

    def wait_for_log(self, words: str, *, count: int = 1, seconds: float = 60) -> str:
        """Wait until ``words`` stand in the log, ``count`` times; returns the log."""
        deadline = time.monotonic() + seconds
        while (log := self.log()).count(words) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{words!r} is not in the log:\n{log}")
            time.sleep(0.01)
        return log

    def sessions(self) -> list[int]:
        """The processes that it started, and theirs."""
        return descendants(self.child.process.pid) if self.child else []


@cache
def within_reach(account: Account) -> tuple[Sequence[str], Mapping[str, str]]:
    """How ``account`` runs tellin: from here, or by a copy where root's checkout is closed to it."""
    home = {"HOME": str(account.home)}
    copied = {**home, "PYTHONPATH": str(account.home / "tellin-copy")}
    # The interpreter may lie in a home of root's, too; another of the same version will do then.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    others = [getattr(sys, "_base_executable", sys.executable), f"/usr/bin/{version}"]
    ways = [([*TELLIN], home), *(([one, "-P", "-m", "tellin"], copied) for one in others)]
    said = ""
    for words, environment in ways:
        if environment is copied:
            _copy_packages(account.home / "tellin-copy")
        try:
            tried = subprocess.run(
                [*words, "ssh", "-V"],
                capture_output=True,
                check=False,
                env={**os.environ, **environment},
                user=account.uid,
                group=account.gid,
                extra_groups=[],
                cwd="/",
            )
        except PermissionError as error:
            said += f"{words[0]}: {error}\n"
            continue
        if tried.returncode == 0:
            return words, environment
        said += tried.stderr.decode("utf-8", "replace")
    raise RuntimeError(f"{account.name} cannot run tellin here:\n{said}")


def _copy_packages(copy: Path) -> None:
    """What tellin is and needs, where everybody may read it."""
    if copy.exists():
        return
    for name in PACKAGES:
        found = find_spec(name)
        if found is None or found.origin is None:
            continue
        if found.submodule_search_locations:
            shutil.copytree(Path(found.origin).parent, copy / name)
        else:
            shutil.copy(found.origin, copy)


class TellinClient(OpenSSHClient):
    """tellin ssh; ``options`` are keywords for -o."""

    name = "tellin"

    def argv(
        self,
        target: Target,
        command: str,
        *,
        algorithms: Algorithms = ANY,
        method: str = "publickey",
        pty: bool = False,
        subsystem: bool = False,
        options: Mapping[str, object] | None = None,
    ) -> Sequence[str | Path]:
        words = super().argv(
            target,
            command,
            algorithms=algorithms,
            method=method,
            pty=pty,
            subsystem=subsystem,
            options=options,
        )
        return [*TELLIN, "ssh", *words[1:]]

    def supported(self) -> dict[str, tuple[str, ...]]:
        names = {"kex": "kex", "cipher": "cipher", "mac": "mac", "host_key": "HostKeyAlgorithms"}
        return {
            kind: tuple(tellin("ssh", "-Q", query, check=True).stdout.decode().split())
            for kind, query in names.items()
        }


def connecting_to(target: Target, **options: Any) -> Any:
    """``tellin.connect`` to any server, with what its target tells and nothing of this machine."""
    assert target.identity is not None
    settings: dict[str, Any] = {
        "port": target.port,
        "user": target.user,
        "keys": [load_private_key(target.identity.path.read_bytes())],
        "host_keys": load_public_key(target.host_key()),
        "config": None,
    }
    return connect(target.host, **settings | options)


def make_tellin_key(path: Path, kind: str, *words: str) -> KeyFile:
    """Make a key by ``tellin ssh-keygen``, without a passphrase unless ``words`` say otherwise."""
    given = words if "-N" in words else ("-N", "", *words)
    tellin("ssh-keygen", "-q", "-t", kind, "-f", path, *given, check=True)
    return KeyFile(path, path.with_name(path.name + ".pub").read_text("utf-8").strip())
