# SPDX-License-Identifier: MIT
"""Runs of ``tellin scp`` and ``tellin sftp`` with a stand-in for ssh that needs no network: -S of both."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.interop.peers import SFTP_SERVER
from tests.interop.servers import find

TELLIN = (sys.executable, "-P", "-m", "tellin")
OURS = " ".join((*TELLIN, "sftp-server"))
THEIRS = str(SFTP_SERVER)
LONGEST = 100.0

# It notes how it was called, goes to the folder that is named after the host, and does there what
# ssh would do: the subsystem, or a command for the shell.
_STAND_IN = """\
#!/bin/sh
for word; do printf '%s\\n' "$word"; done >> {root}/called
subsystem=no
while [ "$1" != -- ]; do [ "$1" = -s ] && subsystem=yes; shift; done
cd {root}/"$2" || exit 255
shift 2
if [ $subsystem = yes ]; then exec {server} {options}
fi
scp() {{ {scp} "$@"; }}
eval "$*"
"""


class Hosts:
    """Folders that stand for hosts, and one that is here."""

    def __init__(
        self, root: Path, *, server: str = OURS, options: str = "", scp: str = "tellin"
    ) -> None:
        self.root = root
        self.here = root / "here"
        self.host = root / "host"
        self.other = root / "other"
        for folder in (self.here, self.host, self.other):
            folder.mkdir(exist_ok=True)
        self.program = root / "ssh"
        remote = f"{' '.join(TELLIN)} scp" if scp == "tellin" else find("scp")
        self.program.write_text(
            _STAND_IN.format(root=root, server=server, options=options, scp=remote)
        )
        self.program.chmod(0o755)

    def called(self) -> list[str]:
        """The words that the stand-in was given, by all its runs."""
        return (self.root / "called").read_text().splitlines()

    def run(
        self,
        name: str,
        *words: str | bytes,
        program: Sequence[str] = TELLIN,
        lines: Sequence[str | bytes] = (),
        **options: object,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run scp or sftp, ours or OpenSSH's, with lines to read."""
        beginning = [find(name)] if program is not TELLIN else [*program, name]
        text = b"".join(os.fsencode(line) + b"\n" for line in lines)
        settings = {"cwd": self.here, "timeout": LONGEST} | options
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            [*beginning, "-S", self.program, *words],
            input=text,
            capture_output=True,
            check=False,
            **settings,
        )

    def scp(self, *words: str | bytes) -> subprocess.CompletedProcess[bytes]:
        """Run tellin's scp."""
        return self.run("scp", *words)

    def batch(
        self, *lines: str | bytes, flags: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        """Run tellin's sftp with a batch."""
        return self.run("sftp", *flags, "-b", "-", "host", lines=lines)


def said(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    """The lines on standard error."""
    return done.stderr.decode("utf-8", "replace").replace("\r", "").splitlines()


def tree(folder: Path) -> dict[str, object]:
    """What is below a folder: contents of files, targets of links, None for directories."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = path.readlink()
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found
