# SPDX-License-Identifier: MIT
"""Goes through a tunnel again and again, and writes down what becomes of each connection.

``python tunnel_probe.py PORT``: a line of standard output a connection, as ``[began, ended, outcome]`` on the
machine's monotonic clock. ``echo`` is what should be, ``reset`` an error that is told, ``refused`` that nobody
listens; ``end`` and ``silence`` are what must not be. A second connection is held open all the while: ``holds`` when
it is there, and ``held ...`` when something has happened to it.
"""

import json
import socket
import sys
import threading
import time
from typing import Final

PATIENCE: Final = 60.0
_lock = threading.Lock()


def write(began: float, outcome: str) -> None:
    """One line."""
    with _lock:
        print(json.dumps([began, time.monotonic(), outcome]), flush=True)


def go(port: int, *, hold: bool) -> str:
    """One connection; with ``hold`` it stays until something happens to it."""
    began = time.monotonic()
    try:
        line = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    except ConnectionRefusedError:
        return "refused"
    except ConnectionResetError:
        return "reset"
    held = ""
    with line:
        line.settimeout(PATIENCE)
        try:
            line.sendall(b"hello")
            got = b""
            while len(got) < 5:
                piece = line.recv(5)
                if not piece:
                    return "end"
                got += piece
            if hold:
                # Nothing comes of it any more, but its end.
                line.settimeout(None)
                held = "held "
                write(began, "holds")
                return "held more" if line.recv(1) else "held end"
        except (ConnectionResetError, BrokenPipeError):
            return f"{held}reset"
        except TimeoutError:
            return "silence"
        return "echo"


def held(port: int) -> None:
    """Hold one connection after another."""
    while True:
        began = time.monotonic()
        outcome = go(port, hold=True)
        if outcome.startswith("held"):
            write(began, outcome)
        else:
            time.sleep(0.02)


def main(port: int) -> None:
    """Until somebody ends us."""
    threading.Thread(target=held, args=(port,), daemon=True).start()
    while True:
        began = time.monotonic()
        write(began, go(port, hold=False))
        time.sleep(0.02)


if __name__ == "__main__":
    main(int(sys.argv[1]))
