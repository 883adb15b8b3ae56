# SPDX-License-Identifier: MIT
"""Network devices of both sides joined (``ssh -w``), each in a network of its own: packets and frames, both ways."""

import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.interop.children import Child
from tests.interop.network import Network
from tests.interop.pairs import ALL_SERVERS, pairs
from tests.interop.servers import Server
from tests.interop.tellin_peer import TELLIN

HERE, THERE = "192.0.2.1", "192.0.2.2"
OURS, THEIRS = "198.51.100.1", "198.51.100.2"
OURS_6, THEIRS_6 = "fd00:7::1", "fd00:7::2"
PORT = 2222
PATIENCE = 60
PROBE = Path(__file__).with_name("device_probe.py")
PROGRAMS = {"openssh": ["ssh"], "tellin": [*TELLIN, "ssh"]}
# What a window holds at first, three times.
MUCH = 6 << 20

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="no /dev/net/tun here"),
]


def in_it(network: Network, command: str) -> None:
    subprocess.run(network.argv(["sh", "-ec", command]), check=True, timeout=PATIENCE)


class Scene:
    """A client's network and a server's, and a wire between them."""

    def __init__(self, here: Network, there: Network, folder: Path) -> None:
        self.here, self.there = here, there
        self.folder = folder
        self.server: Server | None = None
        self._children: list[Child] = []

    def start(self, network: Network, words: list[str | Path], log: str) -> Child:
        made = Child(network.argv(words), log=self.folder / log)
        self._children.append(made)
        return made

    def serve(self, name: str, keys: str = "", **options: str) -> None:
        """Begin to serve, with these options, a key with these."""
        given = {"Port": PORT, "ListenAddress": THERE, **options}
        self.server = server = ALL_SERVERS[name](self.folder, options=given)
        words = server.argv()
        lines = f"{keys} {server.identity.public}\n".lstrip()
        (server.directory / "authorized_keys").write_text(lines, "ascii")
        log = f"{server.directory.name}.log"
        self.start(self.there, [*words], log).wait_for_log("Server listening on")
        host_key = " ".join(server.host_keys[0].public.split()[:2])
        (self.folder / "known").write_text(f"[{THERE}]:{PORT} {host_key}\n", "ascii")

    def words(self, name: str, *flags: str) -> list[str | Path]:
        """The command line of a client, but for a command."""
        assert self.server is not None
        return [
            *PROGRAMS[name], "-F", "none", "-p", str(PORT), "-i", self.server.identity.path,
            "-o", f"UserKnownHostsFile={self.folder}/known", "-o", "BatchMode=yes", *flags,
            f"{self.server.user}@{THERE}",
        ]  # fmt: skip

    def run(self, name: str, *flags: str, command: str = "true") -> tuple[int, list[str]]:
        """One that ends by itself: its status, and what it says."""
        done = subprocess.run(
            self.here.argv([*self.words(name, *flags), command]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stderr.decode().splitlines()

    def first_line(self, name: str, *flags: str, command: str) -> str:
        """What a command writes first; empty where nothing was had. It stays as long as its device."""
        with subprocess.Popen(
            self.here.argv([*self.words(name, *flags), command]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as program:
            assert program.stdout is not None
            assert select.select([program.stdout], [], [], PATIENCE)[0]
            line = program.stdout.readline()
            program.terminate()
        return line.decode().strip()

    def probe(self, network: Network, *words: str) -> None:
        done = subprocess.run(
            network.argv([sys.executable, "-I", "-S", PROBE, *words]),
            capture_output=True,
            timeout=2 * PATIENCE,
            check=False,
        )
        assert done.returncode == 0, (words, done.stderr.decode(), self.logs())

    def logs(self) -> str:
        return "\n".join(child.log() for child in self._children)

    def stop(self) -> None:
        for child in reversed(self._children):
            child.stop()


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    with Network() as there:
        wire = (
            f"ip link add wire type veth peer name wire netns {there.holder}",
            f"ip address add {HERE}/24 dev wire",
            "ip link set wire up",
        )
        with Network(*wire) as here:
            in_it(there, f"ip address add {THERE}/24 dev wire; ip link set wire up")
            made = Scene(here, there, folder)
            try:
                yield made
            finally:
                made.stop()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as made:
        yield made


def bring_up(network: Network, device: str, address: str, address_6: str) -> None:
    """Wait for a device, and give it addresses."""
    in_it(
        network,
        f"until ip link show {device} >/dev/null 2>&1; do sleep 0.05; done;"
        f" ip address add {address}/24 dev {device}; ip link set {device} up;"
        f" ip address add {address_6}/64 dev {device} nodad",
    )


@pytest.mark.parametrize(("mode", "kind"), [("point-to-point", "tun"), ("ethernet", "tap")])
@pytest.mark.parametrize(
    ("client", "server"), pairs(clients=["openssh", "tellin"], servers=["sshd", "tellin"])
)
def test_packets_and_frames_cross_both_ways_between_devices_of_both_sides(
    client: str, server: str, mode: str, kind: str, stage: Scene
) -> None:
    stage.serve(server, PermitTunnel=mode)
    # TunnelDevice, by its flag.
    flags = ["-o", f"Tunnel={mode}", "-w", "5:7", "-N"]
    stage.start(stage.here, stage.words(client, *flags), "client.log")
    ends = [
        (stage.there, f"{kind}7", THEIRS, THEIRS_6),
        (stage.here, f"{kind}5", OURS, OURS_6),
    ]
    # OpenSSH gives up a direction whose device is not up when something comes.
    for end in ends if server == "sshd" else reversed(ends):
        bring_up(*end)
    for network, address in (
        (stage.here, THEIRS), (stage.there, OURS), (stage.here, THEIRS_6), (stage.there, OURS_6),
    ):  # fmt: skip
        stage.probe(network, "ping", address, "1200")
    echo = [sys.executable, "-I", "-S", PROBE, "echo", THEIRS]
    stage.start(stage.there, [*echo], "echo.log")
    stage.probe(stage.here, "send", THEIRS, str(MUCH))


PERMITTED = [
    ({"PermitTunnel": "yes"}, "", "tun7"),
    ({"PermitTunnel": "point-to-point"}, "", "tun7"),
    ({"PermitTunnel": "ethernet"}, "", ""),
    ({}, "", ""),
    ({"Match": "all\n PermitTunnel yes"}, "", "tun7"),
    ({"PermitTunnel": "yes", "Match": "all\n PermitTunnel no"}, "", ""),
    ({"PermitTunnel": "yes", "DisableForwarding": "yes"}, "", ""),
    ({"PermitTunnel": "yes"}, "restrict", ""),
    ({"PermitTunnel": "yes"}, 'restrict,tunnel="7"', "tun7"),
    ({"PermitTunnel": "yes"}, 'tunnel="8"', ""),
    ({}, 'tunnel="7"', ""),
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("options", "keys", "device"), PERMITTED)
def test_r110_r113_devices_are_joined_where_all_who_are_asked_permit_it(
    options: dict[str, str], keys: str, device: str, stage: Scene
) -> None:
    stage.serve("tellin", keys, **options)
    flags = ["-o", "ExitOnForwardFailure=yes", "-w", "any:7"]
    said = "ip link show tun7 >/dev/null 2>&1 && echo $SSH_TUNNEL && exec sleep 60"
    assert stage.first_line("tellin", *flags, command=said) == device
    # PermitTunnel is asked for nothing else.
    assert stage.run("tellin") == (0, [])


@pytest.mark.parametrize(
    "client", [pytest.param("openssh", marks=pytest.mark.peer("openssh")), "tellin"]
)
def test_what_cannot_be_joined_is_said_in_openssh_s_words(client: str, stage: Scene) -> None:
    stage.serve("tellin")
    strict = ["-o", "ExitOnForwardFailure=yes"]
    refused = ["channel 0: open failed: connect failed: open failed", "Tunnel forwarding failed"]
    assert stage.run(client, *strict, "-w", "5:7") == (255, refused)
    # Without a session nothing else comes to an end of its own.
    ours = ["Tunnel device open failed.", "Could not request tunnel forwarding."]
    in_it(stage.here, "ip tuntap add dev tun5 mode tap")
    assert stage.run(client, "-w", "5:7") == (0, ours)
    assert stage.run(client, *strict, "-w", "5:7") == (255, ours)
    status, said = stage.run(client, "-w", "5:7:9")
    assert (status, said[-1]) == (255, "Bad tun device '5:7:9'")


def test_a_device_that_is_taken_away_ends_what_it_was_joined_by(stage: Scene) -> None:
    stage.serve("tellin", PermitTunnel="yes")
    started = stage.start(stage.here, stage.words("tellin", "-w", "5:7"), "client.log")
    until = time.monotonic() + PATIENCE
    in_it(stage.here, "until ip link show tun5 >/dev/null 2>&1; do sleep 0.05; done")
    in_it(stage.here, "ip link del tun5")
    # The shell had its end at once, and nothing else holds the connection.
    while started.running():
        assert time.monotonic() < until, stage.logs()
        time.sleep(0.02)
