# SPDX-License-Identifier: MIT
"""Asks the agent that SSH_AUTH_SOCK names for its keys: a line with the answer in hex, ``none`` or ``gone``.

With the name of a directory it holds the connection: it asks, makes the file ``held`` there, waits for
``go``, asks again over the same connection, and writes the line into ``said``.
"""

import os
import socket
import sys
import time

REQUEST = bytes((0, 0, 0, 1, 11))  # SSH_AGENTC_REQUEST_IDENTITIES


def ask(stream: socket.socket) -> str:
    """One question; an agent's answer is whole when its length is there."""
    answer = b""
    try:
        stream.sendall(REQUEST)
        while len(answer) < 4 or len(answer) < 4 + int.from_bytes(answer[:4], "big"):
            piece = stream.recv(65536)
            if not piece:
                return "gone"
            answer += piece
    except OSError:
        return "gone"
    return answer.hex()


def main() -> str:
    """What there is to say."""
    path = os.environ.get("SSH_AUTH_SOCK")
    if not path:
        return "none"
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(path)
        said = ask(stream)
        if sys.argv[1:]:
            place = sys.argv[1]
            with open(f"{place}/held", "w", encoding="ascii") as file:  # noqa: PTH123 (start-up)
                file.write(said)
            while not os.path.exists(f"{place}/go"):  # noqa: PTH110
                time.sleep(0.02)
            said = ask(stream)
            with open(f"{place}/said.new", "w", encoding="ascii") as file:  # noqa: PTH123
                file.write(said)
            os.rename(f"{place}/said.new", f"{place}/said")  # noqa: PTH104
    return said


if __name__ == "__main__":
    sys.stdout.write(f"{main()}\n")
