# SPDX-License-Identifier: MIT
"""Files on their way while the network goes: what sftp and scp say over a real connection, and that it can be gone on with."""

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.network import Network
from tests.interop.servers import LOOPBACK, OpenSSHServer

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.peer("sshd")]

PATIENCE = 60
# In a network of its own each is free.
PORT = 2022
DATA = random.Random(29).randbytes(4_000_001)
# A megabyte a second: there is time to cut it.
PACED = ("-l", "8000")


class Wire:
    """An sshd in a network that can be taken down; client and server are in it."""

    def __init__(self, place: Path, network: Network) -> None:
        self.place = place
        self.network = network
        self.server = OpenSSHServer(place, options={"Port": PORT})
        self.known = place / "known"
        keys = [" ".join(key.public.split()[:2]) for key in self.server.host_keys]
        self.known.write_text("".join(f"[{LOOPBACK}]:{PORT} {key}\n" for key in keys))
        with (place / "log").open("wb") as log:
            self.daemon = subprocess.Popen(network.argv(self.server.argv()), stderr=log)

    def words(self) -> list[str]:
        options = {
            "UserKnownHostsFile": self.known,
            "IdentityFile": self.server.identity.path,
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "ServerAliveInterval": 2,
            "ServerAliveCountMax": 2,
        }
        flags = [f"-o{name}={value}" for name, value in options.items()]
        return ["-F", "none", "-P", str(PORT), *flags]

    def begin(self, program: str, verb: str, *words: str) -> subprocess.Popen[str]:
        """Copy `far` to `near` or `near` to `far`."""
        near, far = self.place / "near", self.place / "far"
        host = f"root@{LOOPBACK}"
        argv = [sys.executable, "-P", "-m", "tellin", program, *self.words(), *words]
        batch = self.place / "batch"
        if program == "scp":
            there = f"{host}:{far}"
            argv += [there, str(near)] if verb in {"get", "reget"} else [str(near), there]
        else:
            paths = (far, near) if verb in {"get", "reget"} else (near, far)
            batch.write_text(f"{verb} {paths[0]} {paths[1]}\n")
            argv += ["-b", str(batch), host]
        return subprocess.Popen(
            self.network.argv(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def take(self, direction: str) -> None:
        subprocess.run(self.network.argv(["ip", "link", "set", "lo", direction]), check=True)

    def reachable(self) -> None:
        deadline = time.monotonic() + PATIENCE
        log = self.place / "log"
        while "Server listening" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with Network() as network:
        made = Wire(tmp_path, network)
        try:
            made.reachable()
            yield made
        finally:
            made.daemon.terminate()
            made.daemon.wait(PATIENCE)


@pytest.mark.parametrize("program", ["sftp", "scp"])
@pytest.mark.parametrize("verb", ["get", "put"])
@pytest.mark.parametrize("fault", ["the link goes down", "the server is killed"])
@pytest.mark.timeout(300)
def test_what_is_cut_on_the_network_says_how_far_it_got_and_is_finished_by_resuming(
    wire: Wire, program: str, verb: str, fault: str
) -> None:
    source, target = wire.place / "far", wire.place / "near"
    if verb == "put":
        source, target = target, source
    source.write_bytes(DATA)
    child = wire.begin(program, verb, *PACED)
    deadline = time.monotonic() + PATIENCE
    while not target.exists() or target.stat().st_size < 300_000:
        assert time.monotonic() < deadline
        assert child.poll() is None, child.communicate()
        time.sleep(0.02)
    if fault == "the link goes down":
        wire.take("down")
    else:
        for pid in serving(wire.daemon.pid):
            os.kill(pid, 9)
    _, said = child.communicate(timeout=PATIENCE)
    assert child.returncode == 255
    found = re.search(rf"(\d+) bytes of {len(DATA)} are (there )?in '{target}'", said)
    assert found, said
    kept = target.read_bytes()
    assert DATA.startswith(kept)
    assert 0 < int(found[1]) <= len(kept) < len(DATA)
    if fault == "the link goes down":
        wire.take("up")
    again = wire.begin("sftp", f"re{verb}")
    assert again.communicate(timeout=PATIENCE)[1] == ""
    assert again.returncode == 0
    assert target.read_bytes() == DATA


def serving(daemon: int) -> list[int]:
    """The processes that serve connections: those below the daemon, at any depth."""
    found = []
    for child in Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split():
        found += [*serving(int(child)), int(child)]
    return found
