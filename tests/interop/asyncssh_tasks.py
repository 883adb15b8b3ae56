# SPDX-License-Identifier: MIT
"""What AsyncSSH's client does for some tests, told by a JSON object on standard input; the answer is JSON too."""

import asyncio
import hashlib
import json
import logging
import random
import sys
from collections.abc import Iterator

import asyncssh
from asyncssh.encryption import get_encryption_algs
from asyncssh.kex import get_kex_algs
from asyncssh.mac import get_mac_algs
from asyncssh.public_key import get_public_key_algs

KINDS = {
    "kex": "kex_algs",
    "host_key": "server_host_key_algs",
    "cipher": "encryption_algs",
    "mac": "mac_algs",
    "compression": "compression_algs",
}
TURNED = bytes(range(255, -1, -1))


def connect(told: dict, **options: object) -> object:
    return asyncssh.connect(
        told["host"],
        told["port"],
        username=told["user"],
        config=None,
        agent_path=None,
        known_hosts=asyncssh.import_known_hosts(told["known_hosts"]),
        client_keys=[told["identity"]],
        login_timeout=90,
        connect_timeout=90,
        **options,
    )


async def signal(told: dict) -> dict:
    """Run a command, send it a signal once it has said that it is ready."""
    async with connect(told) as connection:
        process = await connection.create_process(told["command"], stdin=asyncssh.DEVNULL)
        assert await process.stdout.readline() == "ready\n"
        process.send_signal(told["signal"])
        done = await process.wait()
        name = done.exit_signal[0] if done.exit_signal else None
        status = None if name else done.exit_status
        return {"status": status, "signal": name, "output": done.stdout}


class Exchanges(logging.Handler):
    """Counts the key exchanges that either side began, by AsyncSSH's own log."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.requested = self.received = 0

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage()
        self.requested += "Requesting key exchange" in words
        self.received += "Received key exchange request" in words


def blocks(data: bytes, seed: int) -> Iterator[bytes]:
    sizes = random.Random(seed)
    at = 0
    while at < len(data):
        end = at + sizes.randrange(1, 20_000)
        yield data[at:end]
        at = end


async def one_channel(connection: object, command: str, size: int, seed: int) -> str:
    """Send bytes, compare what comes back on both streams; what is wrong, or ""."""
    data = random.Random(seed).randbytes(size)
    process = await connection.create_process(command, encoding=None)

    async def feed() -> None:
        for block in blocks(data, seed):
            process.stdin.write(block)
            await process.stdin.drain()
        process.stdin.write_eof()

    async def drain(stream: object) -> bytes:
        digest, count = hashlib.sha256(), 0
        while block := await stream.read(65_536):
            digest.update(block)
            count += len(block)
        return digest.digest() if count == size else b"%d" % count

    _, output, errors = await asyncio.gather(feed(), drain(process.stdout), drain(process.stderr))
    done = await process.wait()
    wrong = [
        f"{name} is {got!r}"
        for name, got, wanted in (
            ("stdout", output, data),
            ("stderr", errors, data.translate(TURNED)),
        )
        if got != hashlib.sha256(wanted).digest()
    ]
    if done.exit_status != 0:
        wrong.append(f"exit status {done.exit_status}")
    return "; ".join(wrong)


async def channels(told: dict) -> dict:
    """Many channels of one connection at once, with new keys every so many bytes."""
    exchanges = Exchanges()
    logger = logging.getLogger("asyncssh")
    logger.addHandler(exchanges)
    logger.setLevel(logging.DEBUG)
    options = {KINDS[kind]: [name] for kind, name in told.get("algorithms", {}).items()}
    if told.get("rekey_bytes"):
        options["rekey_bytes"] = told["rekey_bytes"]
    async with connect(told, **options) as connection:
        runs = [
            one_channel(connection, told["command"], told["size"], seed)
            for seed in range(told["count"])
        ]
        wrong = await asyncio.gather(*runs)
    return {"wrong": wrong, "requested": exchanges.requested, "received": exchanges.received}


async def logins(told: dict) -> dict:
    """Many logins that begin at the same moment."""

    options = {"client_version": told["version"]} if "version" in told else {}

    async def one(number: int) -> str:
        async with connect(told, **options) as connection:
            done = await connection.run(f"echo {number}; id -un", check=True)
            return done.stdout

    try:
        said = await asyncio.gather(*(one(number) for number in range(told["count"])))
    except (OSError, asyncssh.Error) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"said": said}


async def rounds(told: dict) -> list[str]:
    """A login and a command for each set of algorithms; what is wrong with each, or ""."""
    found = []
    data = random.Random(3).randbytes(5_003)
    for algorithms in told["rounds"]:
        options = {KINDS[kind]: [name] for kind, name in algorithms.items() if name}
        try:
            async with connect(told, **options) as connection:
                done = await connection.run("cat", input=data, encoding=None, check=True)
                found.append("" if done.stdout == data else "other bytes came back")
        except (OSError, asyncssh.Error) as error:
            found.append(f"{type(error).__name__}: {error}")
    return found


async def supported(told: dict) -> dict:
    """All that this AsyncSSH can do, whether it offers it or not."""
    lists = {
        "kex": get_kex_algs(),
        "host_key": get_public_key_algs(),
        "cipher": get_encryption_algs(),
        "mac": get_mac_algs(),
    }
    return {kind: [name.decode() for name in names] for kind, names in lists.items()}


async def refused(told: dict) -> dict:
    """Ask for a subsystem that is refused, and then for a command on the same connection."""
    async with connect(told) as connection:
        try:
            await connection.create_process(subsystem=told["subsystem"])
            was_refused = False
        except asyncssh.ChannelOpenError:
            was_refused = True
        done = await connection.run(told["command"])
        return {"refused": was_refused, "after": done.stdout}


TASKS = {
    "refused": refused,
    "signal": signal,
    "channels": channels,
    "logins": logins,
    "rounds": rounds,
    "supported": supported,
}

if __name__ == "__main__":
    told = json.load(sys.stdin)
    json.dump(asyncio.run(TASKS[told["task"]](told)), sys.stdout)
