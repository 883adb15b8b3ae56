# SPDX-License-Identifier: MIT
"""The peers' servers, each on a free loopback port with keys of its own, gone after its ``with``."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.interop.children import Child, python
from tests.interop.target import LOOPBACK, KeyFile, Target, free_port, make_key, my_name

HERE = Path(__file__).parent
PASSWORD = "correct horse"
NSS_WRAPPER = next(iter(sorted(Path("/usr").glob("lib*/**/libnss_wrapper.so"))), None)


@dataclass(frozen=True)
class Account:
    """A throw-away account of this machine, for servers that root runs."""

    name: str
    uid: int
    gid: int
    home: Path
    password: str

    def own(self, *paths: Path) -> None:
        for path in paths:
            os.chown(path, self.uid, self.gid)


class Server:
    """What all have in common: a folder, host keys, one user's key, and a process."""

    name = ""
    serves_passwords = True

    def __init__(
        self,
        directory: Path,
        *,
        account: Account | None = None,
        unprivileged: bool = False,
        host_keys: Sequence[str] = ("ed25519",),
        user_key: str = "ed25519",
        options: Mapping[str, object] | None = None,
    ) -> None:
        """``account``: log in as that one, not as who runs the tests; ``unprivileged``: run as it too."""
        # The server reads its files as the account, which cannot enter a folder of pytest's.
        folder = account.home if account else directory
        number = 0
        while (place := folder / f"{self.name}{number}").exists():
            number += 1
        place.mkdir(mode=0o755)
        self.directory = place
        self.account = account
        self.unprivileged = unprivileged
        self.options = dict(options or {})
        self.host_keys = [make_key(place / f"host_{kind}", kind) for kind in host_keys]
        self.identity: KeyFile = make_key(place / "user_key", user_key)
        self.child: Child | None = None
        self.port = 0
        if account:
            account.own(place, *place.iterdir())

    @property
    def user(self) -> str:
        return self.account.name if self.account else my_name()

    @property
    def password(self) -> str | None:
        return self.account.password if self.account else None

    @property
    def target(self) -> Target:
        """What a client needs."""
        return Target(
            port=self.port,
            user=self.user,
            host_keys=tuple(key.public for key in self.host_keys),
            identity=self.identity,
            password=self.password,
        )

    def argv(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def environment(self) -> dict[str, str] | None:
        return None

    def start(self) -> Self:
        """Start; a port that somebody took in the meantime is tried again with another."""
        rights = {}
        if self.account and self.unprivileged:
            rights = {
                "user": self.account.uid,
                "group": self.account.gid,
                "extra_groups": [],
                "cwd": str(self.account.home),
            }
        for attempt in range(5):
            self.port = free_port()
            self.child = Child(
                self.argv(), log=self.directory / "log", env=self.environment(), **rights
            )
            try:
                self.child.wait_for_port(self.port)
            except RuntimeError:
                if attempt == 4 or "in use" not in self.log():
                    raise
            else:
                return self
        raise AssertionError

    def log(self) -> str:
        return self.child.log() if self.child else ""

    def stop(self) -> None:
        if self.child:
            self.child.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class OpenSSHServer(Server):
    """OpenSSH's sshd; ``options`` are lines of sshd_config, a list for a repeated keyword."""

    name = "sshd"
    serves_passwords = False  # only root's, and only for an account

    def argv(self) -> Sequence[str | Path]:
        if os.geteuid() == 0 and not self.unprivileged:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        authorized = self.directory / "authorized_keys"
        authorized.write_text(self.identity.public + "\n", "ascii")
        settings: dict[str, object] = {
            "Port": self.port,
            "ListenAddress": LOOPBACK,
            "HostKey": [key.path for key in self.host_keys],
            "AuthorizedKeysFile": authorized,
            "PidFile": self.directory / "pid",
            "StrictModes": "no",
            "UsePAM": "no",
            "PermitRootLogin": "yes",
            "PasswordAuthentication": "yes" if self.account else "no",
            "KbdInteractiveAuthentication": "no",
            "LogLevel": "VERBOSE",
            "MaxStartups": "200:30:400",
            "Subsystem": ["sftp internal-sftp", "echo /bin/cat"],
            "AcceptEnv": "TELLIN_*",
        } | self.options
        lines = [
            f"{keyword} {value}"
            for keyword, values in settings.items()
            for value in (values if isinstance(values, list) else [values])
        ]
        config = self.directory / "sshd_config"
        config.write_text("\n".join(lines) + "\n", "utf-8")
        return [find("sshd"), "-D", "-e", "-f", config]


class DropbearServer(Server):
    """Dropbear; ``options`` are its flags, ``{"-I": 5}`` or ``{"-a": ""}``."""

    name = "dropbear"
    serves_passwords = False

    def argv(self) -> Sequence[str | Path]:
        flags: list[str | Path] = ["-F", "-E", "-p", f"{LOOPBACK}:{self.port}"]
        flags += ["-P", self.directory / "pid"]
        for key in self.host_keys:
            own = key.path.with_suffix(".dropbear")
            if not own.exists():
                run("dropbearconvert", "openssh", "dropbear", key.path, own)
            flags += ["-r", own]
        for flag, value in self.options.items():
            flags += [flag, *([str(value)] if value != "" else [])]
        self._authorize()
        if self.account:
            self.account.own(*self.directory.iterdir())
        return [find("dropbear"), *flags]

    def _authorize(self) -> None:
        home = self.account.home if self.account else self.directory
        folder = home / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        authorized = folder / "authorized_keys"
        with authorized.open("a", encoding="ascii") as file:
            file.write(self.identity.public + "\n")
        authorized.chmod(0o600)
        if self.account:
            self.account.own(folder, authorized)

    def environment(self) -> dict[str, str] | None:
        if self.account:
            return None
        # The account's home is this folder for Dropbear alone: nobody's real ~/.ssh is touched.
        passwd, group = self.directory / "passwd", self.directory / "group"
        uid, gid = os.getuid(), os.getgid()
        passwd.write_text(f"{self.user}:x:{uid}:{gid}::{self.directory}:/bin/sh\n", "utf-8")
        group.write_text(f"{self.user}:x:{gid}:\n", "utf-8")
        return {
            **os.environ,
            "LD_PRELOAD": str(NSS_WRAPPER),
            "NSS_WRAPPER_PASSWD": str(passwd),
            "NSS_WRAPPER_GROUP": str(group),
        }


class ScriptServer(Server):
    """A Python library's server, from a script beside this file."""

    script = ""

    @property
    def password(self) -> str | None:
        return PASSWORD

    def argv(self) -> Sequence[str | Path]:
        settings = {
            "port": self.port,
            "host_keys": [str(key.path) for key in self.host_keys],
            "authorized": self.identity.public,
            "user": self.user,
            "password": PASSWORD,
            "options": self.options,
        }
        return [python(), HERE / self.script, json.dumps(settings)]


class AsyncSSHServer(ScriptServer):
    """AsyncSSH; ``options`` go to ``asyncssh.listen``."""

    name = "asyncssh"
    script = "asyncssh_server.py"


class ParamikoServer(ScriptServer):
    """Paramiko; ``options`` may hold the ``kex`` methods it is to offer."""

    name = "paramiko"
    script = "paramiko_server.py"


def find(program: str) -> str:
    """A program's path; Debian keeps daemons where an ordinary user's PATH does not look."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise FileNotFoundError(program)
    return found


def run(program: str, *words: str | Path) -> bytes:
    """Run a peer's small tool to its end."""
    done = subprocess.run([find(program), *map(str, words)], capture_output=True, check=True)
    return done.stdout
