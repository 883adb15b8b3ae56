# SPDX-License-Identifier: MIT
"""What AsyncSSH's and Paramiko's clients do with files, told by a JSON object on standard input; what they saw as JSON."""

import asyncio
import json
import random
import stat
import sys
from typing import Any

DATA = random.Random(6).randbytes(700_001)


async def asyncssh_files(told: dict[str, Any]) -> dict[str, object]:
    import asyncssh

    root = told["root"].encode()
    async with (
        asyncssh.connect(
            told["host"],
            told["port"],
            username=told["user"],
            config=None,
            agent_path=None,
            known_hosts=asyncssh.import_known_hosts(told["known_hosts"]),
            client_keys=[told["identity"]],
            login_timeout=90,
            connect_timeout=90,
        ) as connection,
        connection.start_sftp_client(path_encoding=None) as files,
    ):
        names = sorted(name for name in await files.listdir(root) if name not in {b".", b".."})
        await files.mkdir(root + b"/new")
        await files.chdir(root + b"/new")
        async with files.open(b"f", "wb") as file:
            await file.write(DATA)
        async with files.open(b"f", "r+b") as file:
            # To go on where another transfer has ended.
            await file.write(b"more", len(DATA))
            data = await file.read(-1, 0)
        await files.symlink(b"f", b"link")
        target = await files.readlink(b"link")
        kind = stat.S_ISLNK((await files.lstat(b"link")).permissions)
        await files.chmod(b"f", 0o640)
        await files.utime(b"f", (1, 2))
        status = await files.stat(b"link")
        await files.rename(b"f", b"g")
        await files.posix_rename(b"g", b"h")
        await files.link(b"h", b"i")
        async with files.open(b"h", "rb") as source, files.open(b"copy", "wb") as copy:
            await files.remote_copy(source, copy)
        same = await files.getsize(b"copy")
        room = await files.statvfs(b".")
        refused = ""
        try:
            await files.stat(b"nothing")
        except asyncssh.SFTPNoSuchFile as error:
            refused = error.reason
        where = await files.realpath(b".")
        for name in (b"h", b"i", b"copy", b"link"):
            await files.remove(name)
        await files.rmdir(root + b"/new")
    return {
        "names": [name.decode("latin-1") for name in names],
        "data": data == DATA + b"more",
        "link": [target.decode(), bool(kind)],
        "status": [status.size, stat.S_IMODE(status.permissions), status.atime, status.mtime],
        "copied": same,
        "room": room.bsize > 0,
        "refused": refused,
        "where": where.decode(),
    }


def paramiko_files(told: dict[str, Any]) -> dict[str, object]:
    import paramiko

    root = told["root"]
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
    with client, client.open_sftp() as files:
        # Names that are no UTF-8 it cannot list; they are AsyncSSH's to show.
        files.mkdir(f"{root}/new")
        files.chdir(f"{root}/new")
        with files.open("f", "wb") as file:
            file.set_pipelined(True)
            file.write(DATA)
        with files.open("f", "ab") as file:
            file.write(b"more")
        with files.open("f", "rb") as file:
            file.prefetch()
            data = file.read()
        files.symlink("f", "link")
        target = files.readlink("link")
        kind = stat.S_ISLNK(files.lstat("link").st_mode)
        files.chmod("f", 0o640)
        files.utime("f", (1, 2))
        status = files.stat("link")
        names = sorted(files.listdir())
        files.rename("f", "g")
        files.posix_rename("g", "h")
        refused = ""
        try:
            files.stat("nothing")
        except FileNotFoundError as error:
            refused = "No such file" if error.errno == 2 else str(error)
        where = files.normalize(".")
        for name in ("h", "link"):
            files.remove(name)
        files.rmdir(f"{root}/new")
    return {
        "names": names,
        "data": data == DATA + b"more",
        "link": [target, bool(kind)],
        "status": [status.st_size, stat.S_IMODE(status.st_mode), status.st_atime, status.st_mtime],
        "refused": refused,
        "where": where,
    }


if __name__ == "__main__":
    order = json.load(sys.stdin)
    if order["library"] == "asyncssh":
        print(json.dumps(asyncio.run(asyncssh_files(order))))
    else:
        print(json.dumps(paramiko_files(order)))
