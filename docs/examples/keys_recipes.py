# SPDX-License-Identifier: MIT
"""Five lines each: records of hosts, keys that may log in, signatures, and an agent.

usage: python keys_recipes.py [SOCKET-OF-AN-AGENT]
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import tellin
from tellin.keys import (
    Agent,
    AuthorizedKeys,
    KnownHosts,
    PrivateKey,
    PublicKey,
    sign,
    verify,
)

ANN, BOB = (PrivateKey.generate("ed25519", comment=name) for name in ("ann", "bob"))


def let_in(path: Path, key: PublicKey) -> None:
    allowed = AuthorizedKeys.parse(path.read_text())
    if allowed.add(key, options='restrict,command="uptime"'):
        path.write_text(allowed.text)


def judge(path: Path, key: PublicKey) -> None:
    found = AuthorizedKeys.parse(path.read_text(), file=path.name).find(key.blob)
    if found is None:
        print("a stranger")
    else:
        may = found.options
        print(found.where, may.command, may.permit_pty, may.allows_open("db", 5432))


def lock_out(path: Path, key: PublicKey) -> None:
    allowed = AuthorizedKeys.parse(path.read_text())
    print(allowed.remove(key), "line of", len(allowed.keys) + 1)
    path.write_text(allowed.text)


def look_up(key: PublicKey) -> None:
    records = KnownHosts.parse(f"*.example,!old.example {key.to_line()}\n")
    for host in ("new.example", "old.example"):
        print(host, records.lookup([host], key.blob).state.value)


def approve(key: PrivateKey) -> None:
    signature = sign(key, b"release 1.0", namespace="release")
    signer = verify(signature, b"release 1.0", [ANN.public, BOB.public], namespace="release")
    print("signed by", signer.comment if signer else "nobody")
    print(verify(signature, b"release 1.1", [key.public], namespace="release"))


async def log_in_by_agent(socket: str) -> None:
    with Agent.connect(socket) as agent:
        agent.add(ANN, lifetime=600)
        held = agent.keys()
        print([key.comment for key in held])
    host_key = PrivateKey.generate("ed25519")
    async with (
        tellin.serve(host_keys=[host_key], authorized_keys=ANN.public) as server,
        tellin.connect(
            "127.0.0.1",
            port=server.port,
            user="ann",
            agent=socket,
            host_keys=host_key.public,
            config=None,
        ) as connection,
    ):
        print("in as", connection.user)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "authorized_keys"
        path.write_text(f"# the team\n{ANN.public.to_line()}")
        let_in(path, BOB.public)
        judge(path, BOB.public)
        lock_out(path, ANN.public)
    look_up(ANN.public)
    approve(ANN)
    for socket in sys.argv[1:]:
        asyncio.run(log_in_by_agent(socket))


main()
