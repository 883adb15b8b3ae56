# SPDX-License-Identifier: MIT
"""Clients that move files, each behind the same verbs: what is asked of one is said in its own words, then run at once.

    client = OpenSSHSftp(target, here, there, directory)
    client.put("a", "b")
    client.rename("b", "c")
    client.run()

Names are text or bytes, relative to the two folders ``here`` and ``there``. ``run`` raises ``Refused`` where the
program says that something went wrong. What a client has no words for is in ``file_gaps``.
"""

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from tests.interop.clients import OpenSSHClient, PlinkClient
from tests.interop.servers import find
from tests.interop.target import Target
from tests.interop.tellin_peer import TELLIN

Name = str | bytes
LONGEST = 60.0


class Refused(AssertionError):
    """The client said that something went wrong."""


class FileClient:
    """What all have in common: two folders and somewhere to log in."""

    name = ""
    peers: tuple[str, ...] = ()
    is_library = False
    # Whether what it keeps of a file are its permissions too, and whose it keeps.
    keeps_modes = True

    def __init__(self, target: Target, here: Path, there: Path, directory: Path) -> None:
        self.target = target
        self.here = here
        self.there = there
        self.directory = directory
        self.prepare()

    def prepare(self) -> None:
        """Write what the program wants to find in files."""

    def listed(self) -> set[bytes]:
        """The names that ``ls`` has told of."""
        raise NotImplementedError

    def run(self) -> None:
        raise NotImplementedError

    def call(
        self,
        argv: Sequence[Name | Path],
        *,
        text: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run a program here to its end, and return what it printed."""
        settings = {name: value for name, value in os.environ.items() if name[:4] != "SSH_"}
        done = subprocess.run(
            argv,
            input=text,
            capture_output=True,
            cwd=self.here,
            env={**settings, "HOME": str(self.directory), **(env or {})},
            timeout=LONGEST,
            check=False,
            start_new_session=True,
        )
        if done.returncode:
            raise Refused(done.returncode, done.stdout[-3000:], done.stderr[-3000:])
        return done.stdout

    @property
    def host(self) -> str:
        return f"{self.target.user}@{self.target.host}"

    def beyond(self, name: Name) -> bytes:
        """The whole path of a name there."""
        return os.path.join(os.fsencode(self.there), os.fsencode(name))  # noqa: PTH118 - bytes

    def openssh_words(self) -> list[str]:
        """The options of OpenSSH's programs, and tellin's."""
        argv = [str(word) for word in OpenSSHClient(self.directory).argv(self.target, "x")]
        return argv[1 : argv.index("-T")]


# ------------------------------------------------------------------------- programs that read lines


class LineClient(FileClient):
    """A program that reads one command a line."""

    def prepare(self) -> None:
        self.lines: list[bytes] = []
        self.said = b""

    def say(self, *words: Name) -> None:
        """A line of a command's words, and names in quotes: a str is a word, bytes are a name."""
        self.lines.append(
            b" ".join(
                word.encode() if isinstance(word, str) else self.quote(word) for word in words
            )
        )

    def quote(self, name: bytes) -> bytes:
        return b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'

    def text(self) -> bytes:
        return b"".join(line + b"\n" for line in self.lines)

    def mkdir(self, name: Name) -> None:
        self.say("mkdir", os.fsencode(name))

    def rmdir(self, name: Name) -> None:
        self.say("rmdir", os.fsencode(name))

    def rm(self, name: Name) -> None:
        self.say("rm", os.fsencode(name))

    def chmod(self, mode: int, name: Name) -> None:
        self.say("chmod", f"{mode:o}", os.fsencode(name))


class OpenSSHSftp(LineClient):
    name = "sftp"
    peers = ("sftp",)
    program: Sequence[str] = ()

    def ls(self, name: Name) -> None:
        self.say("ls -1a", os.fsencode(name))

    def listed(self) -> set[bytes]:
        lines = [line for line in self.said.split(b"\n") if not line.startswith(b"sftp> ")]
        return {line.rpartition(b"/")[2].strip() for line in lines} - {b"", b".", b".."}

    def get(
        self,
        there: Name,
        here: Name,
        *,
        keep: bool = False,
        tree: bool = False,
        resume: bool = False,
    ) -> None:
        flags = ["-p"] * keep + ["-R"] * tree
        self.say("reget" if resume else "get", *flags, "--", os.fsencode(there), os.fsencode(here))

    def put(
        self,
        here: Name,
        there: Name,
        *,
        keep: bool = False,
        tree: bool = False,
        resume: bool = False,
    ) -> None:
        flags = ["-p"] * keep + ["-R"] * tree
        self.say("reput" if resume else "put", *flags, "--", os.fsencode(here), os.fsencode(there))

    def rename(self, old: Name, new: Name) -> None:
        self.say("rename", "--", os.fsencode(old), os.fsencode(new))

    def symlink(self, text: Name, link: Name) -> None:
        self.say("ln -s", os.fsencode(text), os.fsencode(link))

    def link(self, old: Name, new: Name) -> None:
        self.say("ln", os.fsencode(old), os.fsencode(new))

    def copy(self, old: Name, new: Name) -> None:
        self.say("copy", os.fsencode(old), os.fsencode(new))

    def room(self) -> None:
        self.say("df -h")

    def argv(self) -> list[str]:
        return list(self.program) or [find("sftp")]

    def run(self) -> None:
        words = [*self.openssh_words(), "-P", str(self.target.port), "-b", "-", self.host]
        text = b"cd " + self.quote(os.fsencode(self.there)) + b"\n" + self.text()
        self.said = self.call([*self.argv(), *words], text=text)


class TellinSftp(OpenSSHSftp):
    name = "tellin sftp"
    peers = ()
    program = (*TELLIN, "sftp")


class Psftp(LineClient):
    name = "psftp"
    peers = ("psftp", "plink")

    def quote(self, name: bytes) -> bytes:
        return b'"' + name.replace(b'"', b'""') + b'"'

    def ls(self, name: Name) -> None:
        self.say("ls", os.fsencode(name))

    def listed(self) -> set[bytes]:
        lines = [line for line in self.said.split(b"\n") if line[:1] in {b"-", b"d", b"l"}]
        return {line.split(None, 8)[8].rstrip() for line in lines} - {b".", b".."}

    def get(self, there: Name, here: Name, *, tree: bool = False, resume: bool = False) -> None:
        flags = ["-r"] * tree
        self.say("reget" if resume else "get", *flags, "--", os.fsencode(there), os.fsencode(here))

    def put(self, here: Name, there: Name, *, tree: bool = False, resume: bool = False) -> None:
        flags = ["-r"] * tree
        self.say("reput" if resume else "put", *flags, "--", os.fsencode(here), os.fsencode(there))

    def rename(self, old: Name, new: Name) -> None:
        self.say("mv", os.fsencode(old), os.fsencode(new))

    def run(self) -> None:
        batch = self.directory / "batch"
        batch.write_bytes(b"cd " + self.quote(os.fsencode(self.there)) + b"\n" + self.text())
        words, env, where = putty(self)
        self.said = self.call([find("psftp"), *words, "-b", batch, where], env=env)


def putty(client: FileClient) -> tuple[list[str], dict[str, str], str]:
    """The options of PuTTY's programs, their environment, and where they are to go."""
    own = PlinkClient(client.directory)
    argv = [str(word) for word in own.argv(client.target, "sftp", subsystem=True)]
    words = [word for word in argv[1:] if word not in {"-ssh", "-T", "-s", "sftp"}]
    return words[:-1], own.environment(client.target), words[-1]


class Lftp(LineClient):
    name = "lftp"
    peers = ("lftp", "ssh")
    keeps_modes = False

    def ls(self, name: Name) -> None:
        self.say("cls -1a", os.fsencode(name))

    def listed(self) -> set[bytes]:
        lines = self.said.split(b"\n")
        return {line.rstrip(b"/").rpartition(b"/")[2] for line in lines} - {b"", b".", b".."}

    def get(
        self,
        there: Name,
        here: Name,
        *,
        keep: bool = False,
        tree: bool = False,
        resume: bool = False,
    ) -> None:
        if tree:
            self.say("mirror --", os.fsencode(there), os.fsencode(here))
        else:
            self.say(
                "get -c" if resume else "get", "--", os.fsencode(there), "-o", os.fsencode(here)
            )

    def put(self, here: Name, there: Name, *, tree: bool = False, resume: bool = False) -> None:
        if tree:
            self.say("mirror -R --", os.fsencode(here), os.fsencode(there))
        else:
            self.say(
                "put -c" if resume else "put", "--", os.fsencode(here), "-o", os.fsencode(there)
            )

    def rename(self, old: Name, new: Name) -> None:
        self.say("mv", os.fsencode(old), os.fsencode(new))

    def symlink(self, text: Name, link: Name) -> None:
        self.say("ln -s", os.fsencode(text), os.fsencode(link))

    def link(self, old: Name, new: Name) -> None:
        self.say("ln", os.fsencode(old), os.fsencode(new))

    def run(self) -> None:
        program = shlex.join([find("ssh"), *self.openssh_words(), "-a", "-x"])
        where = f"sftp://{self.target.host}{quote_from_bytes(os.fsencode(self.there))}"
        start = (
            f"set sftp:connect-program {shlex.quote(program)}\nset sftp:auto-confirm yes\n"
            "set net:max-retries 1\nset cmd:fail-exit yes\nset xfer:clobber yes\n"
            f"set file:charset UTF-8\nset sftp:charset UTF-8\n"
            f"open -u {self.target.user}, -p {self.target.port} {where}\n"
        )
        self.said = self.call(
            [find("lftp"), "-f", "/dev/stdin"], text=start.encode() + self.text()
        )


# ----------------------------------------------------------------- programs that do one thing a run


class RunClient(FileClient):
    """A program that is started for each thing that it is to do."""

    def prepare(self) -> None:
        self.runs: list[list[Name | Path]] = []
        self.said = b""

    def environment(self) -> dict[str, str]:
        return {}

    def run(self) -> None:
        self.said = b"".join(self.call(argv, env=self.environment()) for argv in self.runs)


class OpenSSHScp(RunClient):
    name = "scp"
    peers = ("scp",)
    program: Sequence[str] = ()
    flags: Sequence[str] = ()

    def source(self, name: Name) -> bytes:
        """A path there that is read: a pattern."""
        path = self.beyond(name)
        for letter in (b"\\", b"*", b"?", b"["):
            path = path.replace(letter, b"\\" + letter)
        return path

    def goal(self, name: Name) -> bytes:
        return self.beyond(name)

    def _copy(self, source: bytes, goal: bytes, *, keep: bool, tree: bool) -> None:
        program = list(self.program) or [find("scp")]
        words = [*self.openssh_words(), "-P", str(self.target.port), *self.flags]
        words += ["-p"] * keep + ["-r"] * tree
        self.runs.append([*program, *words, "--", source, goal])

    def get(self, there: Name, here: Name, *, keep: bool = False, tree: bool = False) -> None:
        where = self.host.encode() + b":" + self.source(there)
        self._copy(where, local(here), keep=keep, tree=tree)

    def put(self, here: Name, there: Name, *, keep: bool = False, tree: bool = False) -> None:
        where = self.host.encode() + b":" + self.goal(there)
        self._copy(local(here), where, keep=keep, tree=tree)


def local(name: Name) -> bytes:
    """A file here, so that a dash at its beginning is seen for what it is by ``--`` alone."""
    return os.fsencode(name)


class OpenSSHRcp(OpenSSHScp):
    """What scp was before SFTP: ``scp -t`` and ``scp -f`` at the other end, and a shell between."""

    name = "scp -O"
    flags = ("-O",)

    def source(self, name: Name) -> bytes:
        # As the shell there wants it, and in a way that what compares the name with the answer understands.
        return for_shell(self.beyond(name))

    goal = source


def for_shell(path: bytes) -> bytes:
    """A path with a backslash before each letter that a shell, or a pattern, makes something of."""
    return re.sub(rb"([^\w/.\x80-\xff-])", rb"\\\1", path)


class TellinScp(OpenSSHScp):
    name = "tellin scp"
    peers = ()
    program = (*TELLIN, "scp")


class TellinRcp(OpenSSHRcp):
    """It quotes for the shell by itself, but for what makes a pattern."""

    name = "tellin scp -O"
    peers = ()
    program = (*TELLIN, "scp")

    def source(self, name: Name) -> bytes:
        return re.sub(rb"([*?[])", rb"[\1]", self.beyond(name))

    def goal(self, name: Name) -> bytes:
        return self.beyond(name)


class Pscp(RunClient):
    name = "pscp"
    peers = ("pscp", "plink")
    keeps_modes = False
    flag = "-sftp"

    def _run(self, *words: Name) -> None:
        options, _, _ = putty(self)
        self.runs.append([find("pscp"), self.flag, *options, *words])

    def environment(self) -> dict[str, str]:
        return putty(self)[1]

    def source(self, name: Name) -> bytes:
        path = self.beyond(name)
        for letter in (b"\\", b"*", b"?", b"[", b"]"):
            path = path.replace(letter, b"\\" + letter)
        return putty(self)[2].encode() + b":" + path

    def goal(self, name: Name) -> bytes:
        return putty(self)[2].encode() + b":" + self.beyond(name)

    def ls(self, name: Name) -> None:
        self._run("-ls", self.source(name))

    def listed(self) -> set[bytes]:
        lines = [line for line in self.said.split(b"\n") if line[:1] in {b"-", b"d", b"l"}]
        return {line.split(None, 8)[8].rstrip() for line in lines} - {b".", b".."}

    def get(self, there: Name, here: Name, *, keep: bool = False, tree: bool = False) -> None:
        flags = ["-p"] * keep + ["-r"] * tree
        self._run(*flags, "--", self.source(there), os.fsencode(here))

    def put(self, here: Name, there: Name, *, keep: bool = False, tree: bool = False) -> None:
        flags = ["-p"] * keep + ["-r"] * tree
        if tree:
            # Over SFTP it puts a tree into a folder that is there, under its own name, and nowhere else.
            assert here == there
            there = "."
        self._run(*flags, "--", os.fsencode(here), self.goal(there))


class PscpScp(Pscp):
    name = "pscp -scp"
    flag = "-scp"

    def source(self, name: Name) -> bytes:
        return putty(self)[2].encode() + b":" + for_shell(self.beyond(name))

    goal = source


class Curl(RunClient):
    name = "curl sftp"
    peers = ("curl",)
    scheme = "sftp"
    keeps_modes = False

    def _run(self, *words: Name | Path, url: Name = b"") -> None:
        identity = self.target.identity
        assert identity is not None
        where = f"{self.scheme}://{self.target.host}:{self.target.port}"
        path = quote_from_bytes(self.beyond(url)) if url else "/"
        login = ["--key", identity.path, "--pubkey", f"{identity.path}.pub"]
        who = f"{self.target.user}:"
        self.runs.append([find("curl"), "-gsSk", *login, "-u", who, *words, where + path])

    def _tell(self, *words: Name) -> None:
        said = b" ".join(
            b'"' + self.beyond(word).replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
            if isinstance(word, bytes)
            else word.encode()
            for word in words
        )
        # The folder that is gone to beside it is listed, as something has to be.
        self._run("-o", "/dev/null", "-l", "-Q", said, url=b"./")

    def ls(self, name: Name) -> None:
        self._run("-l", url=os.fsencode(name) + b"/")

    def listed(self) -> set[bytes]:
        return set(self.said.split(b"\n")) - {b"", b".", b".."}

    def get(self, there: Name, here: Name, *, keep: bool = False, resume: bool = False) -> None:
        flags = ["-R"] * keep + ["-C", "-"] * resume
        self._run(*flags, "-o", os.fsencode(here), url=there)

    def put(self, here: Name, there: Name, *, resume: bool = False) -> None:
        # With -C it would ask how much is there.
        self._run(*(["-C", "-"] * resume), "-T", os.fsencode(here), url=there)

    def rename(self, old: Name, new: Name) -> None:
        self._tell("rename", os.fsencode(old), os.fsencode(new))

    def symlink(self, text: Name, link: Name) -> None:
        # Its first path is made no absolute one.
        said = b'symlink "%b" "%b"' % (os.fsencode(text), self.beyond(link))
        self._run("-o", "/dev/null", "-l", "-Q", said, url=b"./")

    def chmod(self, mode: int, name: Name) -> None:
        self._tell("chmod", f"{mode:o}", os.fsencode(name))

    def mkdir(self, name: Name) -> None:
        self._tell("mkdir", os.fsencode(name))

    def rmdir(self, name: Name) -> None:
        self._tell("rmdir", os.fsencode(name))

    def rm(self, name: Name) -> None:
        self._tell("rm", os.fsencode(name))

    def room(self) -> None:
        self._tell("statvfs", b".")


class CurlScp(Curl):
    name = "curl scp"
    scheme = "scp"


class Rclone(RunClient):
    name = "rclone"
    peers = ("rclone",)
    keeps_modes = False

    def prepare(self) -> None:
        super().prepare()
        target = self.target
        assert target.identity is not None
        known = self.directory / "known_hosts"
        known.write_text(target.known_hosts(), "ascii")
        self.remote = (
            f":sftp,host={target.host},port={target.port},user={target.user},"
            f"key_file={target.identity.path},known_hosts_file={known},shell_type=none:"
        )

    def _run(self, *words: Name) -> None:
        self.runs.append([find("rclone"), "--config", "/dev/null", "--retries", "1", *words])

    def _at(self, name: Name) -> bytes:
        return self.remote.encode() + self.beyond(name)

    def _local(self, name: Name) -> bytes:
        return os.path.join(os.fsencode(self.here), os.fsencode(name))  # noqa: PTH118 - bytes

    def ls(self, name: Name) -> None:
        self._run("lsf", self._at(name))

    def listed(self) -> set[bytes]:
        return {line.rstrip(b"/") for line in self.said.split(b"\n")} - {b""}

    def get(self, there: Name, here: Name, *, keep: bool = False, tree: bool = False) -> None:
        words = ["copy", "--create-empty-src-dirs"] if tree else ["copyto"]
        self._run(*words, "--", self._at(there), self._local(here))

    def put(self, here: Name, there: Name, *, keep: bool = False, tree: bool = False) -> None:
        words = ["copy", "--create-empty-src-dirs"] if tree else ["copyto"]
        self._run(*words, "--", self._local(here), self._at(there))

    def rename(self, old: Name, new: Name) -> None:
        self._run("moveto", "--ignore-times", self._at(old), self._at(new))

    def mkdir(self, name: Name) -> None:
        self._run("mkdir", self._at(name))

    def rmdir(self, name: Name) -> None:
        self._run("rmdir", self._at(name))

    def rm(self, name: Name) -> None:
        self._run("deletefile", self._at(name))

    def room(self) -> None:
        self._run("about", self._at(b""))


# ------------------------------------------------------------------------- a mount


class Sshfs(FileClient):
    """What a program does that knows nothing of it, in a folder that sshfs has mounted."""

    name = "sshfs"
    peers = ("sshfs", "ssh")

    def prepare(self) -> None:
        self.mount = self.directory / "mount"
        self.mount.mkdir()
        self.todo: list[Callable[[], object]] = []
        self.names: set[bytes] = set()
        self.texts: list[bytes] = []

    def _in(self, name: Name) -> bytes:
        return os.path.join(os.fsencode(self.mount), os.fsencode(name))  # noqa: PTH118 - bytes

    def _here(self, name: Name) -> bytes:
        return os.path.join(os.fsencode(self.here), os.fsencode(name))  # noqa: PTH118 - bytes

    def _do(self, function: Callable[..., object], *words: object) -> None:
        self.todo.append(lambda: function(*words))

    def ls(self, name: Name) -> None:
        self._do(lambda: self.names.update(os.listdir(self._in(name))))  # noqa: PTH208 - bytes

    def listed(self) -> set[bytes]:
        return self.names

    def get(
        self,
        there: Name,
        here: Name,
        *,
        keep: bool = False,
        tree: bool = False,
        resume: bool = False,
    ) -> None:
        self._move(self._in(there), self._here(here), keep=keep, tree=tree, resume=resume)

    def put(
        self,
        here: Name,
        there: Name,
        *,
        keep: bool = False,
        tree: bool = False,
        resume: bool = False,
    ) -> None:
        self._move(self._here(here), self._in(there), keep=keep, tree=tree, resume=resume)

    def _move(self, source: bytes, goal: bytes, *, keep: bool, tree: bool, resume: bool) -> None:
        if tree:
            self._do(self.call, ["cp", "-r", "--", source, goal])
        elif resume:
            self._do(go_on, source, goal)
        else:
            self._do(shutil.copy2 if keep else shutil.copyfile, source, goal)

    def rename(self, old: Name, new: Name) -> None:
        self._do(os.rename, self._in(old), self._in(new))

    def symlink(self, text: Name, link: Name) -> None:
        self._do(os.symlink, os.fsencode(text), self._in(link))

    def readlink(self, name: Name) -> None:
        self._do(lambda: self.texts.append(os.readlink(self._in(name))))  # noqa: PTH115 - bytes

    def link(self, old: Name, new: Name) -> None:
        self._do(os.link, self._in(old), self._in(new))

    def chmod(self, mode: int, name: Name) -> None:
        self._do(os.chmod, self._in(name), mode)

    def mkdir(self, name: Name) -> None:
        self._do(os.mkdir, self._in(name))

    def rmdir(self, name: Name) -> None:
        self._do(os.rmdir, self._in(name))

    def rm(self, name: Name) -> None:
        self._do(os.unlink, self._in(name))

    def room(self) -> None:
        self._do(self._room)

    def _room(self) -> None:
        if not os.statvfs(self.mount).f_blocks:
            raise OSError("no room at all")

    def run(self) -> None:
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            pytest.skip("no /dev/fuse here")
        ssh = self.directory / "through"
        options = shlex.join(self.openssh_words())
        ssh.write_text(f'#!/bin/sh\nexec {find("ssh")} {options} "$@"\n', "utf-8")
        ssh.chmod(0o755)
        words = ["-p", str(self.target.port), "-o", f"ssh_command={ssh}"]
        where = f"{self.host}:{self.there}"
        try:
            self.call([find("sshfs"), where, str(self.mount), *words])
        except Refused as error:
            if b"fuse" in error.args[2] and b"ermitted" in error.args[2]:
                pytest.skip("nothing may be mounted here")
            raise
        try:
            for act in self.todo:
                act()
        except OSError as error:
            raise Refused(1, b"", str(error).encode()) from error
        finally:
            self._leave()

    def _leave(self) -> None:
        # What it has still to write it writes when it is let go of, which a lazy one would not wait for.
        deadline = time.monotonic() + 60
        while True:
            try:
                self.call([find("fusermount3"), "-u", str(self.mount)])
            except Refused:
                if time.monotonic() > deadline:
                    self.call([find("fusermount3"), "-u", "-z", str(self.mount)])
                    raise
                time.sleep(0.05)
            else:
                return


def go_on(source: bytes, goal: bytes) -> None:
    """Write the rest of a file behind what is there of it."""
    with open(source, "rb") as whole, open(goal, "ab") as part:  # noqa: PTH123 - bytes
        whole.seek(part.seek(0, os.SEEK_END))
        shutil.copyfileobj(whole, part)
