# SPDX-License-Identifier: MIT
"""An authority, a certificate for five minutes, a host that proves itself by one, and a login between the two."""

import asyncio
import time

import tellin
from tellin.keys import Certificate, CertificateRole
from tellin.keys.certificates import DEFAULT_EXTENSIONS, flag

AUTHORITY, HOST, ANN = (tellin.PrivateKey.generate("ed25519") for _ in range(3))


def for_five_minutes() -> Certificate:
    now = int(time.time())
    return Certificate.issue(
        AUTHORITY,
        ANN.public,
        key_id="ann at the desk",
        principals=["ann"],
        valid_after=now - 60,
        valid_before=now + 300,
        extensions=map(flag, DEFAULT_EXTENSIONS),
    )


def for_the_host() -> Certificate:
    return Certificate.issue(
        AUTHORITY,
        HOST.public,
        role=CertificateRole.HOST,
        key_id="the host",
        principals=["127.0.0.1"],
    )


async def greet(process: tellin.ServerProcess[str]) -> int:
    await process.stdout.write(f"hello {process.user}\n")
    return 0


async def main() -> None:
    trusted = AUTHORITY.public
    async with (
        tellin.serve(
            host_keys=[HOST],
            host_certificates=[for_the_host()],
            authorities=trusted,
            session=greet,
        ) as server,
        tellin.connect(
            "127.0.0.1",
            port=server.port,
            user="ann",
            keys=[ANN],
            certificates=[for_five_minutes()],
            known_hosts=tellin.KnownHosts.parse(f"@cert-authority * {trusted.to_line()}"),
            config=None,
        ) as connection,
    ):
        print((await connection.run("greet")).stdout, end="")


asyncio.run(main())
