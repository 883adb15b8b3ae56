# SPDX-License-Identifier: MIT
"""Many channels of one Paramiko connection at once, told by a JSON object on standard input; what was seen as JSON."""

import json
import logging
import random
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

import paramiko

TURNED = bytes(range(255, -1, -1))


class Exchanges(logging.Handler):
    """Counts new keys, and who wanted them, by Paramiko's own log."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.done = self.requested = 0

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage()
        self.done += "Switch to new keys" in words
        self.requested += "Rekeying (hit" in words


def one_channel(transport: paramiko.Transport, told: dict, number: int) -> str:
    """Send bytes, compare what comes back on both streams; what is wrong, or ""."""
    data = random.Random(number).randbytes(told["size"])
    channel = transport.open_session(timeout=60)
    channel.exec_command(told["command"])

    def drain(read: object) -> bytes:
        found = bytearray()
        while block := read(65_536):
            found += block
        return bytes(found)

    with ThreadPoolExecutor(2) as pool:
        output = pool.submit(drain, channel.recv)
        errors = pool.submit(drain, channel.recv_stderr)
        channel.sendall(data)
        channel.shutdown_write()
        wrong = []
        if output.result() != data:
            wrong.append(f"stdout is {len(output.result())} bytes")
        if errors.result() != data.translate(TURNED):
            more = errors.result().replace(data.translate(TURNED), b"")[:400]
            wrong.append(f"stderr is {len(errors.result())} bytes, with {more!r}")
    if status := channel.recv_exit_status():
        wrong.append(f"exit status {status}")
    return "; ".join(wrong)


def main() -> None:
    told = json.load(sys.stdin)
    exchanges = Exchanges()
    logger = logging.getLogger("paramiko")
    logger.addHandler(exchanges)
    logger.setLevel(logging.DEBUG)
    transport = paramiko.Transport(socket.create_connection((told["host"], told["port"]), 60))
    # The bytes after which it wants new keys, either way; a constant to all but tests.
    transport.packetizer.REKEY_BYTES = told["rekey_bytes"]
    transport.start_client(timeout=60)
    assert transport.get_remote_server_key().get_base64() in told["known_hosts"]
    transport.auth_publickey(told["user"], paramiko.PKey.from_path(told["identity"]))
    with ThreadPoolExecutor(told["count"]) as pool:
        runs = [
            pool.submit(one_channel, transport, told, number) for number in range(told["count"])
        ]
        wrong = [run.result() for run in runs]
    transport.close()
    # The first keys are no new ones.
    found = {"wrong": wrong, "exchanges": exchanges.done - 1, "requested": exchanges.requested}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
