# SPDX-License-Identifier: MIT
"""Two ssh-keygens, ours and OpenSSH's, in two folders with the same files: what they say is compared."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tellin.keys import PrivateKey

TELLIN = Path(sys.executable).with_name("tellin")
KEYS = {
    "ca": PrivateKey.generate("ed25519", comment="ca"),
    "a": PrivateKey.generate("ed25519", comment="a comment"),
    "b": PrivateKey.generate("ecdsa", comment="b"),
    "r": PrivateKey.generate("rsa", bits=2048, comment="r"),
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d|\d{8}T\d{6}")


class Answer:
    """What a run said, and how it ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"{self.status}\n{self.out}\n{self.err}"


def timeless(text: str) -> str:
    """The same without what the clock said; and lines of standard error end in either way."""
    return _TIME.sub("TIME", text.replace("\r\n", "\n"))


class Twins:
    """``ours`` and ``theirs``: two folders that begin alike."""

    def __init__(self, directory: Path, *, timezone: str = "UTC") -> None:
        self.ours, self.theirs = directory / "ours", directory / "theirs"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SSH_", "DISPLAY"))},
            "TZ": timezone,
        }
        for place in (self.ours, self.theirs):
            place.mkdir()
        for name, key in KEYS.items():
            self.put(name, key.to_openssh(), mode=0o600)
            self.put(f"{name}.pub", f"{key.public.to_line()}\n")

    def put(self, name: str, data: bytes | str, *, mode: int = 0o644) -> None:
        """The same file in both."""
        raw = data.encode() if isinstance(data, str) else data
        for place in (self.ours, self.theirs):
            path = place / name
            path.touch(mode)
            path.write_bytes(raw)
            path.chmod(mode)

    def share(self, name: str) -> None:
        """Give both what ours has made."""
        shutil.copy2(self.ours / name, self.theirs / name)

    def run_ours(self, *arguments: object, typed: str = "") -> Answer:
        return self._run([TELLIN, "ssh-keygen"], self.ours, arguments, typed)

    def run_theirs(self, *arguments: object, typed: str = "") -> Answer:
        return self._run(["/usr/bin/ssh-keygen"], self.theirs, arguments, typed)

    def _run(
        self, program: list[object], place: Path, arguments: tuple[object, ...], typed: str
    ) -> Answer:
        done = subprocess.run(
            [str(word) for word in (*program, *arguments)],
            cwd=place,
            input=typed.encode(),
            capture_output=True,
            env=self.environment,
            check=False,
            start_new_session=True,
            timeout=100,
        )
        out, err = (timeless(text.decode()) for text in (done.stdout, done.stderr))
        return Answer(done.returncode, out, err)

    def same(self, *arguments: object, typed: str = "") -> Answer:
        """Run both, and hold them to saying the same."""
        ours = self.run_ours(*arguments, typed=typed)
        theirs = self.run_theirs(*arguments, typed=typed)
        assert (ours.status, ours.out, ours.err) == (theirs.status, theirs.out, theirs.err)
        return ours

    def files(self) -> Mapping[str, tuple[bytes, bytes]]:
        """What both folders hold now."""
        names = {path.name for place in (self.ours, self.theirs) for path in place.iterdir()}
        return {
            name: ((self.ours / name).read_bytes(), (self.theirs / name).read_bytes())
            for name in sorted(names)
        }


def signing_twins(directory: Path) -> Twins:
    """Twins with a message, and a file of who may sign what."""
    twins = Twins(directory)
    twins.put("msg", "hello\n")
    a, b = (KEYS[name].public.with_comment("").to_line() for name in ("a", "b"))
    twins.put("allowed", f'me,*@x {a}\nyou namespaces="git" {b}\n')
    return twins
