# SPDX-License-Identifier: MIT
import socket
import subprocess
import sys

import pytest
from tests.interop.network import Network

from tellin.runtime.loop import SmallLoop
from tellin.runtime.routes import watch_routes

# Says what it hears while a link, an address and a route come and go.
LISTEN = """
import subprocess, sys
from tellin.runtime.loop import SmallLoop
from tellin.runtime.routes import watch_routes
loop, heard = SmallLoop(), []
watch = watch_routes(loop, lambda: heard.append(1))
assert watch is not None
for words in sys.argv[1:]:
    heard.clear()
    subprocess.run(["ip", *words.split()], check=True)
    if not loop.run_until(lambda: heard, timeout=60):
        sys.exit(f"nothing was heard of {words}")
heard.clear()
watch.close()
subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
loop.run_until(lambda: heard, timeout=0.1)
print(len(heard))
"""


@pytest.mark.root
def test_links_addresses_and_routes_are_told_of_and_nothing_after_the_end() -> None:
    changes = [
        "address add 192.0.2.1/24 dev lo",
        "route add 198.51.100.0/24 dev lo",
        "route del 198.51.100.0/24",
        "address add 2001:db8::1/64 dev lo nodad",
        "address del 192.0.2.1/24 dev lo",
        "link set lo down",
        "link set lo up",
    ]
    with Network() as network:
        done = subprocess.run(
            network.argv([sys.executable, "-c", LISTEN, *changes]),
            capture_output=True,
            check=False,
            text=True,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_where_there_is_no_such_thing_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("_socket.AF_NETLINK")
    assert watch_routes(SmallLoop(), lambda: None) is None
    monkeypatch.setattr("_socket.AF_NETLINK", socket.AF_INET, raising=False)
    assert watch_routes(SmallLoop(), lambda: None) is None


def test_only_the_kernel_is_believed_and_what_was_lost_counts_as_a_change() -> None:
    class Line:
        """What arrives, on paper."""

        def __init__(self, *answers: object) -> None:
            self.answers = list(answers)

        def fileno(self) -> int:
            return 0

        def recvfrom(self, size: int) -> object:
            answer = self.answers.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return answer

    from tellin.runtime.routes import RouteWatch

    heard: list[int] = []

    class Loop:
        def add_reader(self, fd: int, callback: object) -> None:
            self.readable = callback

    def hears(*answers: object) -> int:
        heard.clear()
        loop = Loop()
        RouteWatch(loop, Line(*answers), lambda: heard.append(1))  # type: ignore[arg-type]
        loop.readable()  # type: ignore[operator]
        return len(heard)

    kernel, other, empty = (b"x", (0, 1)), (b"x", (4711, 1)), BlockingIOError()
    assert hears(kernel, kernel, empty) == 1
    assert hears(other, empty) == 0
    assert hears(other, kernel, empty) == 1
    assert hears(OSError(105, "No buffer space available")) == 1
