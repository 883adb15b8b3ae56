# SPDX-License-Identifier: MIT
"""The temporary folder of a run: keys, known hosts, an empty home, an account with /bin/sh.

Nothing of the user's is read (no ~/.ssh, no agent, no configuration) and nothing is left behind.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.processes import BenchError

HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Where the run keeps its files, and who logs in."""

    folder: Path
    user: str
    identity: Path
    host_key: Path
    known_hosts: Path
    authorized_keys: Path
    home: Path
    check_file: Path
    # Prefix for server programs: a private mount namespace in which the account's shell is
    # /bin/sh, its home empty, and the login records are thrown away. Empty without the right.
    enclosure: tuple[str, ...]
    shell: str

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of every process of the run."""
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin",
            "HOME": str(self.home),
            "USER": self.user,
            "LOGNAME": self.user,
            "SHELL": "/bin/sh",
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(self.folder),
            "BENCH_HOME": str(self.home),
        }


# A whole /etc of its own and not just another /etc/passwd: a mount over a file is dropped when
# somebody outside replaces that file (useradd does), in the middle of a run.
_ENCLOSE = """
mount -t tmpfs -o mode=755 tmpfs /run && mkdir -m 755 /run/sshd /run/etc &&
cp -a /etc/. /run/etc && cp "$1" /run/etc/passwd && mount --bind /run/etc /etc &&
mount -t tmpfs -o mode=755 tmpfs /var/log || exit 70
shift
exec "$@"
"""


@contextlib.contextmanager
def make_workspace(*, check_bytes: int) -> Iterator[Workspace]:
    """Make the folder and everything in it; it is removed on the way out."""
    folder = Path(tempfile.mkdtemp(prefix="tellin-bench-"))
    try:
        yield _furnish(folder, check_bytes=check_bytes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _furnish(folder: Path, *, check_bytes: int) -> Workspace:
    user = pwd.getpwuid(os.getuid())
    home = folder / "home"
    home.mkdir(mode=0o700)
    identity, host_key = folder / "id_ed25519", folder / "host_ed25519"
    for path in (identity, host_key):
        _make_key(path)
    public = identity.with_suffix(".pub").read_text(encoding="ascii")
    authorized_keys = folder / "authorized_keys"
    authorized_keys.write_text(public, encoding="ascii")
    authorized_keys.chmod(0o600)
    host_public = " ".join(host_key.with_suffix(".pub").read_text(encoding="ascii").split()[:2])
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(f"* {host_public}\n", encoding="ascii")
    check_file = folder / "check.bin"
    check_file.write_bytes(os.urandom(check_bytes))
    enclosure = _enclosure(folder, user, home)
    return Workspace(
        folder=folder,
        user=user.pw_name,
        identity=identity,
        host_key=host_key,
        known_hosts=known_hosts,
        authorized_keys=authorized_keys,
        home=home,
        check_file=check_file,
        enclosure=enclosure,
        shell="/bin/sh" if enclosure else user.pw_shell,
    )


def _make_key(path: Path) -> None:
    """Make an ed25519 key, with OpenSSH's program if it is here, else with PyCA."""
    program = shutil.which("ssh-keygen")
    if program is not None:
        argv = [program, "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", str(path)]
        done = subprocess.run(argv, capture_output=True, check=False)
        if done.returncode:
            raise BenchError(f"ssh-keygen: {done.stderr.decode(errors='replace')}")
        return
    # Imported only on a machine without OpenSSH: half a benchmark is still one.
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    path.with_suffix(".pub").write_bytes(public + b" bench\n")


def _enclosure(folder: Path, user: pwd.struct_passwd, home: Path) -> tuple[str, ...]:
    """A command prefix that gives this account /bin/sh and an empty home, if we may mount."""
    unshare = shutil.which("unshare")
    if unshare is None or os.getuid() != 0:
        return ()
    lines = []
    for line in Path("/etc/passwd").read_text(encoding="utf-8").splitlines():
        fields = line.split(":")
        if fields[0] == user.pw_name:
            fields[5:] = [str(home), "/bin/sh"]
        lines.append(":".join(fields) + "\n")
    accounts = folder / "passwd"
    accounts.write_text("".join(lines), encoding="utf-8")
    shell = ("/bin/sh", "-c", _ENCLOSE, "enclose", str(accounts))
    prefix = (unshare, "--mount", "--propagation", "private", *shell)
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if tried.returncode == 0 else ()
