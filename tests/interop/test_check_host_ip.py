# SPDX-License-Identifier: MIT
"""CheckHostIP: the same records, the same server, and what OpenSSH's ssh and ours make of them."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.interop.peers import Account, OpenSSHServer, make_key
from tests.programs.ssh_runs import asked, askpass

from tellin.config.known_hosts import KnownHosts, hash_name, host_name

pytestmark = [pytest.mark.root, pytest.mark.peer("sshd", "openssh")]

PATIENCE = 60
ADDRESS = "192.0.2.1"
NAME = "box.example"
PORTS = (22, 2222)
# A network and a host table of its own: at a loopback address no program would look.
STAGE = (
    'mount --bind "$1" /etc/hosts && ip link set lo up && ip addr add "$2/32" dev lo'
    " && echo ready && exec sleep 3600"
)
# What ours says beside: without a terminal OpenSSH's gives no reason.
UNCONFIRMED = "was not confirmed."
PROGRAMS = {"openssh": ["ssh"], "tellin": [sys.executable, "-m", "tellin", "ssh"]}


Outcome = tuple[int, list[str], list[str], list[str]]


class Stage:
    """A namespace with a server at an address that has a name."""

    def __init__(self, place: Path, account: Account) -> None:
        self.place = place
        hosts = place / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{ADDRESS} {NAME}\n", "ascii")
        self.keeper = subprocess.Popen(
            ["unshare", "-n", "-m", "sh", "-c", STAGE, "sh", hosts, ADDRESS],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.keeper.stdout is not None
        assert self.keeper.stderr is not None
        if self.keeper.stdout.readline() != b"ready\n":
            self.keeper.wait(PATIENCE)
            pytest.skip(f"no network of its own can be made here: {self.keeper.stderr.read()!r}")
        options = {"Port": [*PORTS], "ListenAddress": ADDRESS}
        self.server = OpenSSHServer(place, account=account, options=options)
        self.log = (place / "log").open("wb")
        self.daemon = subprocess.Popen(
            [*self.inside(), *map(str, self.server.argv())], stderr=self.log
        )
        key = make_key(place / "other")
        self.keys = {
            "ours": key_of(self.server.host_keys[0].public),
            "other": key_of(key.public),
            "third": key_of(make_key(place / "third").public),
            "ecdsa": key_of(make_key(place / "ecdsa", "ecdsa256").public),
        }
        deadline = time.monotonic() + PATIENCE
        while self.ssh("openssh", place / "probe", "", "-o", "StrictHostKeyChecking=no")[0]:
            assert time.monotonic() < deadline, (place / "log").read_text()
            time.sleep(0.1)

    def inside(self) -> list[str]:
        return ["nsenter", "-t", str(self.keeper.pid), "-n", "-m"]

    def stop(self) -> None:
        for process in (self.daemon, self.keeper):
            process.terminate()
            process.wait(PATIENCE)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self.log.close()

    def ssh(
        self,
        program: str,
        place: Path,
        text: str,
        *flags: str,
        host: str = NAME,
        answers: Sequence[str] | None = None,
    ) -> Outcome:
        """The status, what is said, what the records are afterwards, and what was asked."""
        place.mkdir(exist_ok=True)
        known = place / "known"
        known.unlink(missing_ok=True)
        if text:
            known.write_text(text, "ascii")
        (place / "asked").unlink(missing_ok=True)
        asks = {} if answers is None else askpass(place, *answers)
        done = subprocess.run(
            [
                *self.inside(), *PROGRAMS[program], "-F", "none", *flags,
                "-o", "CheckHostIP=yes", "-o", f"UserKnownHostsFile={known}",
                "-o", "GlobalKnownHostsFile=none", "-o", "UpdateHostKeys=no",
                "-o", "PasswordAuthentication=no", "-o", "KbdInteractiveAuthentication=no",
                "-i", str(self.server.identity.path), "-l", self.server.user, host, "true",
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            env={**os.environ, **asks},
            start_new_session=True,
        )  # fmt: skip
        said = [
            line.replace(str(known), "FILE")
            for line in done.stderr.decode().splitlines()
            if not line.endswith(UNCONFIRMED)
        ]
        written = known.read_text("ascii") if known.exists() else ""
        questions = [line.replace(str(known), "FILE") for line in asked(place)]
        return done.returncode, said, told(written), questions


def key_of(line: str) -> str:
    return " ".join(line.split()[:2])


def told(text: str) -> list[str]:
    """Lines of known hosts, with what a hash stands for in its place."""
    names = {host_name(host, port) for host in (NAME, ADDRESS) for port in PORTS}
    lines = []
    for line in text.splitlines():
        if line.startswith("|1|"):
            (entry,) = KnownHosts.parse(line).entries()
            (name,) = (name for name in names if entry.is_for(name))
            lines.append(f"hash of {name} {line.split(' ', 1)[1]}")
        else:
            lines.append(line)
    return lines


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, account: Account) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("stage"), account)
    yield made
    made.stop()


# What is on record for the name, and for the address.
RECORDS = {
    "name known, address new": "name ours",
    "name and address known": "name ours\naddress ours",
    "both in one line": "name,address ours",
    "name known, address under another key": "name ours\n# x\naddress other",
    "name known, address under a key of another type": "name ours\naddress ecdsa",
    "name known, address under both": "name ours\naddress other\naddress ours",
    "name new, address known": "address ours",
    "name new, address under another key": "address other",
    "name new, address under a key of another type": "address ecdsa",
    "name under a key of another type, address under another key": "name ecdsa\naddress other",
    "name under keys of another type": "name ecdsa\n# x\nname other\n# x\nname ecdsa",
    "neither": "",
    "name changed, address new": "name other",
    "name changed, address known": "name other\naddress ours",
    "name changed, address as the name was": "name other\naddress other",
    "name changed, address changed otherwise": "name other\naddress third",
}
POLICIES: dict[str, list[list[str] | None]] = {
    "yes": [None],
    "no": [None],
    "accept-new": [None],
    "ask": [None, ["yes", "yes"], ["yes", "no"]],
}


def records(stage: Stage, what: str, port: int = 22) -> str:
    lines = []
    for line in what.splitlines():
        *mark, names, key = line.split()
        if key not in stage.keys:
            lines.append(line)
            continue
        hosts = names.replace("name", host_name(NAME, port)).replace(
            "address", host_name(ADDRESS, port)
        )
        lines.append(" ".join([*mark, hosts, stage.keys[key]]))
    return "".join(f"{line}\n" for line in lines)


def both(stage: Stage, place: Path, text: str, *flags: str, **more: Any) -> Outcome:
    """What both make of it, which is the same."""
    ours, theirs = (
        stage.ssh(program, place / program, text, *flags, **more)
        for program in ("tellin", "openssh")
    )
    assert ours == theirs
    return ours


@pytest.mark.sampled(4)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("what", RECORDS)
def test_both_say_and_write_the_same(stage: Stage, tmp_path: Path, what: str, policy: str) -> None:
    text = records(stage, RECORDS[what])
    for answers in POLICIES[policy]:
        both(stage, tmp_path, text, "-o", f"StrictHostKeyChecking={policy}", answers=answers)


HASHED = ("neither", "name known, address new", "name new, address known")


@pytest.mark.parametrize("what", HASHED)
def test_new_names_and_addresses_are_hashed_one_by_one(
    stage: Stage, tmp_path: Path, what: str
) -> None:
    flags = ["-o", "StrictHostKeyChecking=accept-new", "-o", "HashKnownHosts=yes"]
    text = records(stage, RECORDS[what])
    status, _, written, _ = both(stage, tmp_path, text, *flags)
    assert status == 0
    added = {line.split()[2] for line in written if line.startswith("hash of ")}
    assert added == {NAME, ADDRESS} - set(text.split())


@pytest.mark.parametrize("port", PORTS)
def test_hashed_records_are_found(stage: Stage, tmp_path: Path, port: int) -> None:
    text = "".join(
        f"{hash_name(host_name(name, port), salt=os.urandom(20))} {stage.keys[key]}\n"
        for name, key in ((NAME, "ours"), (ADDRESS, "other"))
    )
    flags = ["-p", str(port), "-o", "StrictHostKeyChecking=yes"]
    status, said, _, _ = both(stage, tmp_path, text, *flags)
    assert status == 255
    assert said[1] == "Offending key for IP in FILE:2"


@pytest.mark.parametrize(
    "what",
    [
        "neither",
        "name known, address new",
        "name known, address under another key",
        "name new, address known",
        "name changed, address known",
    ],
)
def test_a_port_stands_in_both_names(stage: Stage, tmp_path: Path, what: str) -> None:
    flags = ["-p", "2222", "-o", "StrictHostKeyChecking=no"]
    text = records(stage, RECORDS[what], port=2222)
    status, said, written, _ = both(stage, tmp_path, text, *flags)
    assert status == 0
    assert f"[{ADDRESS}]:2222" in "".join(said + written)


@pytest.mark.parametrize("policy", ["yes", "accept-new"])
@pytest.mark.parametrize("what", ["name known, address new", "name and address known"])
def test_records_of_the_host_without_its_port_are_good_enough(
    stage: Stage, tmp_path: Path, what: str, policy: str
) -> None:
    flags = ["-p", "2222", "-o", f"StrictHostKeyChecking={policy}"]
    status, *_ = both(stage, tmp_path, records(stage, RECORDS[what]), *flags)
    assert status == 0


WAYS = {
    "a proxy": (["-o", "ProxyCommand=nc %h %p"], NAME, "name ours\naddress other"),
    "a proxy, and no record": (["-o", "ProxyCommand=nc %h %p"], NAME, ""),
    "an address for a name": ([], ADDRESS, "address ours"),
    "an address for a name, and no record": ([], ADDRESS, ""),
    "an alias": (["-o", "HostKeyAlias=other"], NAME, "other ours\naddress other"),
    "an alias, and no record": (["-o", "HostKeyAlias=other"], NAME, ""),
}


@pytest.mark.parametrize("way", WAYS)
def test_addresses_are_looked_up_on_the_same_ways(stage: Stage, tmp_path: Path, way: str) -> None:
    flags, host, what = WAYS[way]
    if "nc %h %p" in " ".join(flags) and shutil.which("nc") is None:
        pytest.skip("there is no nc")
    flags = [*flags, "-o", "StrictHostKeyChecking=no"]
    status, *_ = both(stage, tmp_path, records(stage, what), *flags, host=host)
    assert status == 0


def test_nothing_is_looked_up_or_written_where_it_is_not_wanted(
    stage: Stage, tmp_path: Path
) -> None:
    text = records(stage, "name ours\naddress other")
    off = ["-o", "StrictHostKeyChecking=yes", "-o", "CheckHostIP=no"]
    assert both(stage, tmp_path, text, *off) == (0, [], text.splitlines(), [])
    # Where OpenSSH's looks at the name alone: a key that is revoked is nobody's.
    text = records(stage, "name ours\n@revoked address ours")
    for policy in POLICIES:
        flags = ["-o", f"StrictHostKeyChecking={policy}"]
        status, said, written, _ = stage.ssh("tellin", tmp_path, text, *flags)
        assert (status, said[-1]) == (255, "Host key verification failed.")
        assert written == text.splitlines()
