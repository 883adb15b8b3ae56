# SPDX-License-Identifier: MIT
"""What a Python library's client does with files: steps told by a JSON object on standard input, what it saw as JSON."""

import asyncio
import json
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

NAMES: list[bytes] = []
TEXTS: list[bytes] = []
BLOCK = 1 << 18


def length(path: bytes) -> int:
    return os.stat(path).st_size  # noqa: PTH116 - bytes


def rest(path: bytes, start: int) -> bytes:
    """What is in a file here from ``start`` on."""
    return Path(os.fsdecode(path)).read_bytes()[start:]


def add(path: bytes, data: bytes) -> None:
    with Path(os.fsdecode(path)).open("ab") as file:
        file.write(data)


class Steps:
    """What is to be done: each verb a method of a class below, its names paths in bytes."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.here = os.fsencode(told["here"])
        self.there = os.fsencode(told["there"])

    def each(self) -> Any:
        for verb, words, flags in self.told["steps"]:
            names = [word if isinstance(word, int) else word.encode("latin-1") for word in words]
            yield verb, getattr(self, f"do_{verb}"), names, dict.fromkeys(flags, True)

    def near(self, name: bytes) -> bytes:
        return os.path.join(self.here, name)  # noqa: PTH118 - bytes

    def far(self, name: bytes) -> bytes:
        return os.path.join(self.there, name)  # noqa: PTH118 - bytes


# ------------------------------------------------------------------------- Paramiko


class WithParamiko(Steps):
    def run(self) -> None:
        import paramiko

        told = self.told
        client = paramiko.SSHClient()
        entry = paramiko.hostkeys.HostKeyEntry.from_line(told["known_hosts"].splitlines()[0])
        client.get_host_keys().add(entry.hostnames[0], entry.key.get_name(), entry.key)
        client.connect(
            told["host"],
            told["port"],
            username=told["user"],
            key_filename=told["identity"],
            look_for_keys=False,
            allow_agent=False,
            timeout=90,
        )
        with client, client.open_sftp() as self.files:
            for _, do, names, flags in self.each():
                do(*names, **flags)

    def do_ls(self, name: bytes) -> None:
        NAMES.extend(os.fsencode(one) for one in self.files.listdir(self.far(name)))

    def do_get(self, there: bytes, here: bytes, *, resume: bool = False) -> None:
        if not resume:
            self.files.get(self.far(there), os.fsdecode(self.near(here)))
            return
        with self.files.open(self.far(there), "rb") as whole:
            whole.seek(length(self.near(here)))
            add(self.near(here), whole.read())

    def do_put(
        self, here: bytes, there: bytes, *, keep: bool = False, resume: bool = False
    ) -> None:
        if not resume:
            self.files.put(os.fsdecode(self.near(here)), self.far(there))
            if keep:
                status = os.stat(self.near(here))  # noqa: PTH116 - bytes
                self.files.utime(self.far(there), (status.st_atime, status.st_mtime))
                self.files.chmod(self.far(there), stat.S_IMODE(status.st_mode))
            return
        with self.files.open(self.far(there), "ab") as part:
            part.set_pipelined(True)
            done = self.files.stat(self.far(there)).st_size
            part.write(rest(self.near(here), done))

    def do_rename(self, old: bytes, new: bytes) -> None:
        self.files.posix_rename(self.far(old), self.far(new))

    def do_symlink(self, text: bytes, link: bytes) -> None:
        self.files.symlink(text, self.far(link))

    def do_readlink(self, name: bytes) -> None:
        TEXTS.append(os.fsencode(self.files.readlink(self.far(name))))

    def do_chmod(self, mode: int, name: bytes) -> None:
        self.files.chmod(self.far(name), mode)

    def do_mkdir(self, name: bytes) -> None:
        self.files.mkdir(self.far(name))

    def do_rmdir(self, name: bytes) -> None:
        self.files.rmdir(self.far(name))

    def do_rm(self, name: bytes) -> None:
        self.files.remove(self.far(name))


# ------------------------------------------------------------------------- AsyncSSH


class OnALoop(Steps):
    """One whose verbs are coroutines."""

    def run(self) -> None:
        asyncio.run(self.work())

    async def work(self) -> None:
        raise NotImplementedError

    async def all_of_them(self) -> None:
        for _, do, names, flags in self.each():
            await do(*names, **flags)


class WithAsyncSSH(OnALoop):
    async def work(self) -> None:
        import asyncssh

        told = self.told
        async with asyncssh.connect(
            told["host"],
            told["port"],
            username=told["user"],
            config=None,
            agent_path=None,
            known_hosts=asyncssh.import_known_hosts(told["known_hosts"]),
            client_keys=[told["identity"]],
            login_timeout=90,
            connect_timeout=90,
        ) as self.connection:
            await self.talk()

    async def talk(self) -> None:
        async with self.connection.start_sftp_client(path_encoding=None) as self.files:
            await self.all_of_them()

    async def do_ls(self, name: bytes) -> None:
        NAMES.extend(await self.files.listdir(self.far(name)))

    async def do_get(
        self,
        there: bytes,
        here: bytes,
        *,
        keep: bool = False,
        tree: bool = False,
        resume: bool = False,
    ) -> None:
        if not resume:
            await self.files.get(self.far(there), self.near(here), preserve=keep, recurse=tree)
            return
        async with self.files.open(self.far(there), "rb") as whole:
            add(self.near(here), await whole.read(-1, length(self.near(here))))

    async def do_put(
        self,
        here: bytes,
        there: bytes,
        *,
        keep: bool = False,
        tree: bool = False,
        resume: bool = False,
    ) -> None:
        if not resume:
            await self.files.put(self.near(here), self.far(there), preserve=keep, recurse=tree)
            return
        async with self.files.open(self.far(there), "r+b") as part:
            done = (await part.stat()).size
            await part.write(rest(self.near(here), done), done)

    async def do_rename(self, old: bytes, new: bytes) -> None:
        await self.files.posix_rename(self.far(old), self.far(new))

    async def do_symlink(self, text: bytes, link: bytes) -> None:
        await self.files.symlink(text, self.far(link))

    async def do_readlink(self, name: bytes) -> None:
        TEXTS.append(await self.files.readlink(self.far(name)))

    async def do_link(self, old: bytes, new: bytes) -> None:
        await self.files.link(self.far(old), self.far(new))

    async def do_copy(self, old: bytes, new: bytes) -> None:
        await self.files.copy(self.far(old), self.far(new), remote_only=True)

    async def do_chmod(self, mode: int, name: bytes) -> None:
        await self.files.chmod(self.far(name), mode)

    async def do_mkdir(self, name: bytes) -> None:
        await self.files.mkdir(self.far(name))

    async def do_rmdir(self, name: bytes) -> None:
        await self.files.rmdir(self.far(name))

    async def do_rm(self, name: bytes) -> None:
        await self.files.remove(self.far(name))

    async def do_room(self) -> None:
        assert (await self.files.statvfs(self.there)).blocks


class WithAsyncSSHScp(WithAsyncSSH):
    async def talk(self) -> None:
        await self.all_of_them()

    def _at(self, name: bytes) -> Any:
        import shlex

        # The path is part of a line for the shell there.
        return self.connection, os.fsencode(shlex.quote(os.fsdecode(self.far(name))))

    async def do_get(  # type: ignore[override]
        self, there: bytes, here: bytes, *, keep: bool = False, tree: bool = False
    ) -> None:
        import asyncssh

        await asyncssh.scp(self._at(there), self.near(here), preserve=keep, recurse=tree)

    async def do_put(  # type: ignore[override]
        self, here: bytes, there: bytes, *, keep: bool = False, tree: bool = False
    ) -> None:
        import asyncssh

        await asyncssh.scp(self.near(here), self._at(there), preserve=keep, recurse=tree)


# ------------------------------------------------------------------------- tellin


class WithTellin(OnALoop):
    async def work(self) -> None:
        import tellin

        told = self.told
        known_hosts = self.here + b".known_hosts"
        add(known_hosts, told["known_hosts"].encode())
        async with (
            tellin.connect(
                told["host"],
                port=told["port"],
                user=told["user"],
                keys=[told["identity"]],
                known_hosts=os.fsdecode(known_hosts),
                config=None,
            ) as connection,
            connection.sftp() as self.files,
        ):
            await self.all_of_them()

    async def do_ls(self, name: bytes) -> None:
        NAMES.extend(os.fsencode(one) for one in await self.files.listdir(self.far(name)))

    async def do_get(
        self,
        there: bytes,
        here: bytes,
        *,
        keep: bool = False,
        tree: bool = False,
        resume: bool = False,
    ) -> None:
        await self.files.get(
            self.far(there), self.near(here), preserve=keep, recurse=tree, resume=resume
        )

    async def do_put(
        self,
        here: bytes,
        there: bytes,
        *,
        keep: bool = False,
        tree: bool = False,
        resume: bool = False,
    ) -> None:
        await self.files.put(
            self.near(here), self.far(there), preserve=keep, recurse=tree, resume=resume
        )

    async def do_rename(self, old: bytes, new: bytes) -> None:
        await self.files.rename(self.far(old), self.far(new), replace=True)

    async def do_symlink(self, text: bytes, link: bytes) -> None:
        await self.files.symlink(text, self.far(link))

    async def do_readlink(self, name: bytes) -> None:
        TEXTS.append(os.fsencode(await self.files.readlink(self.far(name))))

    async def do_link(self, old: bytes, new: bytes) -> None:
        await self.files.link(self.far(old), self.far(new))

    async def do_copy(self, old: bytes, new: bytes) -> None:
        await self.files.copy(self.far(old), self.far(new))

    async def do_chmod(self, mode: int, name: bytes) -> None:
        await self.files.chmod(self.far(name), mode)

    async def do_mkdir(self, name: bytes) -> None:
        await self.files.mkdir(self.far(name))

    async def do_rmdir(self, name: bytes) -> None:
        await self.files.rmdir(self.far(name))

    async def do_rm(self, name: bytes) -> None:
        await self.files.remove(self.far(name))

    async def do_room(self) -> None:
        assert (await self.files.statvfs(self.there)).blocks


# ------------------------------------------------------------------------- libssh2


class WithSsh2Python(Steps):
    def run(self) -> None:
        from ssh2.session import Session

        told = self.told
        with socket.create_connection((told["host"], told["port"]), 90) as link:
            session = Session()
            session.handshake(link)
            session.userauth_publickey_fromfile(
                told["user"], told["identity"], "", f"{told['identity']}.pub"
            )
            self.files = session.sftp_init()
            for _, do, names, flags in self.each():
                do(*names, **flags)

    def _path(self, name: bytes) -> str:
        return self.far(name).decode()

    def do_ls(self, name: bytes) -> None:
        with self.files.opendir(self._path(name)) as folder:
            NAMES.extend(name for size, name, _ in folder.readdir() if size > 0)

    def do_get(self, there: bytes, here: bytes, *, resume: bool = False) -> None:
        from ssh2.sftp import LIBSSH2_FXF_READ

        with (
            self.files.open(self._path(there), LIBSSH2_FXF_READ, 0) as whole,
            Path(os.fsdecode(self.near(here))).open("ab" if resume else "wb") as part,
        ):
            whole.seek64(part.tell())
            while (read := whole.read(BLOCK))[0] > 0:
                part.write(read[1])

    def do_put(
        self, here: bytes, there: bytes, *, keep: bool = False, resume: bool = False
    ) -> None:
        from ssh2.sftp import LIBSSH2_FXF_CREAT, LIBSSH2_FXF_TRUNC, LIBSSH2_FXF_WRITE

        flags = LIBSSH2_FXF_WRITE | (0 if resume else LIBSSH2_FXF_CREAT | LIBSSH2_FXF_TRUNC)
        source = Path(os.fsdecode(self.near(here)))
        with self.files.open(self._path(there), flags, 0o644) as part:
            done = self.files.stat(self._path(there)).filesize if resume else 0
            part.seek64(done)
            part.write(source.read_bytes()[done:])
        if keep:
            self._keep(source.stat(), there)

    def _keep(self, status: os.stat_result, there: bytes) -> None:
        from ssh2.sftp_handle import SFTPAttributes

        attributes = SFTPAttributes()
        attributes.flags = 4 | 8  # LIBSSH2_SFTP_ATTR_PERMISSIONS and ACMODTIME
        attributes.permissions = stat.S_IMODE(status.st_mode)
        attributes.atime, attributes.mtime = int(status.st_atime), int(status.st_mtime)
        self.files.setstat(self._path(there), attributes)

    def do_rename(self, old: bytes, new: bytes) -> None:
        self.files.rename(self._path(old), self._path(new))

    def do_symlink(self, text: bytes, link: bytes) -> None:
        # Its own words are path and target; they go out in this order.
        self.files.symlink(text.decode(), self._path(link))

    def do_chmod(self, mode: int, name: bytes) -> None:
        from ssh2.sftp_handle import SFTPAttributes

        attributes = SFTPAttributes()
        attributes.flags = 4
        attributes.permissions = mode
        self.files.setstat(self._path(name), attributes)

    def do_mkdir(self, name: bytes) -> None:
        self.files.mkdir(self._path(name), 0o755)

    def do_rmdir(self, name: bytes) -> None:
        self.files.rmdir(self._path(name))

    def do_rm(self, name: bytes) -> None:
        self.files.unlink(self._path(name))

    def do_room(self) -> None:
        assert self.files.statvfs(self.told["there"]).f_blocks


class WithParallelSSH(Steps):
    def run(self) -> None:
        from pssh.clients import SSHClient

        told = self.told
        self.client = SSHClient(
            told["host"],
            user=told["user"],
            port=told["port"],
            pkey=told["identity"],
            allow_agent=False,
            num_retries=1,
            timeout=90,
        )
        for _, do, names, flags in self.each():
            do(*names, **flags)
        self.client.disconnect()

    def do_get(self, there: bytes, here: bytes, *, tree: bool = False) -> None:
        self.client.copy_remote_file(
            self.far(there).decode(), self.near(here).decode(), recurse=tree
        )

    def do_put(self, here: bytes, there: bytes, *, tree: bool = False) -> None:
        self.client.copy_file(self.near(here).decode(), self.far(there).decode(), recurse=tree)


LIBRARIES = {
    "paramiko": WithParamiko,
    "asyncssh": WithAsyncSSH,
    "asyncssh scp": WithAsyncSSHScp,
    "tellin": WithTellin,
    "ssh2-python": WithSsh2Python,
    "parallel-ssh": WithParallelSSH,
}

if __name__ == "__main__":
    order = json.load(sys.stdin)
    LIBRARIES[order["library"]](order).run()
    print(
        json.dumps(
            {
                "names": [name.decode("latin-1") for name in NAMES],
                "texts": [text.decode("latin-1") for text in TEXTS],
            }
        )
    )
