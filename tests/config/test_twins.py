# SPDX-License-Identifier: MIT
"""Random files, read by tellin and by the OpenSSH that is installed: what is in force is the same."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from tests.config.drawing import (
    CLIENT_CRITERIA,
    CLIENT_VALUES,
    SERVER_CRITERIA,
    SERVER_VALUES,
    Drawn,
    config_files,
)
from tests.interop.target import make_key

from tellin.client.offer import algorithms as client_algorithms
from tellin.config.algorithm_lists import with_lists
from tellin.config.keywords import KeywordFile, Row
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import read_ssh_config
from tellin.config.sshd_config import SshdConfig
from tellin.config.sshd_reading import Peer, read_sshd_config
from tellin.runtime.surroundings import LocalSurroundings
from tellin.server.settings import algorithms as server_algorithms

HOSTS = ("host", "h*", "!x", "other", "*", "real.example", "!h*", "?ost")
# What 10.5, whose defaults ours are, does otherwise than 9.2.
CHANGED = {
    # Defaults that moved.
    "ipqos": "ef and none instead of lowdelay and throughput",
    "ciphers": "another order, and AES-GCM first where the machine has it",
    "macs": "no SHA-1, no UMAC",
    "kexalgorithms": "mlkem768x25519-sha256",
    "hostkeyalgorithms": "webauthn",
    "pubkeyacceptedalgorithms": "webauthn",
    "hostbasedacceptedalgorithms": "webauthn",
    "casignaturealgorithms": "webauthn",
    "identityfile": "no DSA and XMSS; id_mldsa44_ed25519",
    "modulifile": "/etc/moduli",
    "pidfile": "Debian's is /run",
    "xauthlocation": "Debian's is /usr/bin",
    "forwardx11trusted": "Debian's is yes",
    "serveraliveinterval": "Debian's is 300 in BatchMode",
    "listenaddress": "in brackets, and none if all",
    "securitykeyprovider": "taken from the environment",
    "hostkey": "the one of this test",
    # What is shown where nothing was set.
    "channeltimeout": "none",
    "logverbose": "none",
    "rdomain": "none",
    "preferredauthentications": "the order, where OpenSSH shows nothing",
}


# OpenSSH shows these a word a line, of which it would read but the first.
ONE_LINE = {"setenv"}


# OpenSSH takes these from blocks that do not hold, too, or the last of them: a fault of its own.
FAULTY = {"streamlocalbindmask", "syslogfacility", "authorizedprincipalscommand"}


# What may stand in a Match block of sshd_config since 9.2.
NEWLY_IN_MATCH = ("subsystem", "x11displayoffset", "logverbose", "requiredrsasize")


def as_table(lines: Sequence[str]) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(" ")
        table.setdefault(name.lower(), []).append(value)
    return table


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, words)),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@cache
def known_to_both(program: str, folder: Path) -> list[Row[object]]:
    """The rows of our table whose keywords the installed program knows."""
    table: type[KeywordFile] = SshConfig if program == "ssh" else SshdConfig
    values = CLIENT_VALUES if program == "ssh" else SERVER_VALUES
    found = []
    for row in table.rows.values():
        value = values.get(row.spelling.lower(), ("yes",))[0]
        file = folder / f"probe_{row.attribute}"
        file.write_text(f"{row.spelling} {value}\n")
        said = theirs(program, file).stderr
        if not re.search("Bad configuration option|Deprecated|Unsupported|not supported", said):
            found.append(row)
    return found


# What Debian's OpenSSH is built without, or takes on other systems alone.
NOT_BUILT = {"KerberosGetAFSToken", "RDomain"}


@pytest.mark.peer("ssh", "sshd")
@pytest.mark.parametrize(("program", "table"), [("ssh", SshConfig), ("sshd", SshdConfig)])
def test_the_tables_say_which_keywords_openssh_9_2_does_not_know(
    folder: Path, program: str, table: type[KeywordFile]
) -> None:
    version = run("ssh", "-V").stderr
    if not version.startswith("OpenSSH_9.2"):
        pytest.skip(f"this is {version.strip()}")
    known = {row.spelling for row in known_to_both(program, folder)}
    unknown = {row.spelling for row in table.rows.values()} - known
    assert unknown - NOT_BUILT == table.newer | table.foreign


def theirs(program: str, file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    if program == "ssh":
        return run("ssh", "-F", file, "-G", *words, "host")
    key = file.parent / "host_key"
    if not key.exists():
        make_key(key)
    return run("/usr/sbin/sshd", "-T", "-f", file, "-h", key, *words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("twins")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTHER_AGENT", "/run/other")
        yield made


def ours_of_client(file: Path) -> list[str]:
    surroundings = LocalSurroundings()
    config = read_ssh_config(surroundings, "host", file=str(file))
    config = config.shown(surroundings)
    return list(with_lists(config, client_algorithms(config)).dump())


PEER = Peer(
    user="nobody",
    groups=("nogroup",),
    host="client.example",
    address="192.0.2.9",
    local_address="198.51.100.1",
    local_port=22,
)
SPECIFICATION = "user=nobody,host=client.example,addr=192.0.2.9,laddr=198.51.100.1,lport=22"


def ours_of_server(file: Path) -> list[str]:
    config = read_sshd_config(LocalSurroundings(), file=str(file)).for_peer(PEER)
    return list(with_lists(config, server_algorithms(config)).dump())


def differences(
    ours: list[str], theirs_: list[str], rows: Sequence[Row[object]], defaults: list[str]
) -> dict[str, tuple[list[str], list[str]]]:
    """Keyword by keyword where the two dumps differ, but for defaults that are known to."""
    mine, their, own = as_table(ours), as_table(theirs_), as_table(defaults)
    made = {}
    for row in rows:
        name = row.spelling.lower()
        # OpenSSH shows no quotes, though it would need them.
        both = ([text.replace('"', "") for text in mine.get(name, [])], their.get(name, []))
        if name in CHANGED and both[0] == own.get(name, []):
            continue
        if name in ONE_LINE:
            both = (" ".join(both[0]).split(), " ".join(both[1]).split())
        if row.merge is not None:
            # In its second pass OpenSSH adds what is there already.
            both = (list(dict.fromkeys(both[0])), list(dict.fromkeys(both[1])))
        if both[0] != both[1]:
            made[name] = both
    return made


USERS = "AuthorizedKeysCommandUser nobody\nAuthorizedPrincipalsCommandUser nobody"
# Enough to draw nearly every keyword; what is found is not made smaller, which takes minutes.
FILES = settings(
    max_examples=100,
    # The same files on every machine: what is drawn anew some day fails for no change of ours.
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.peer("ssh")
def test_what_is_in_force_for_a_host_is_what_openssh_says(folder: Path) -> None:
    drawn, seen = Drawn(), {"both": 0}
    rows = [row for row in known_to_both("ssh", folder) if row.spelling.lower() not in FAULTY]
    criteria = {
        name: values
        for name, values in CLIENT_CRITERIA.items()
        if name not in {"localnetwork", "tagged", "command", "version", "sessiontype"}
    }
    empty = folder / "empty"
    empty.write_text("")
    defaults = ours_of_client(empty)

    @FILES
    @given(config_files(rows, CLIENT_VALUES, criteria, drawn, hosts=HOSTS))
    def check(text: str) -> None:
        file = folder / "config"
        file.write_text(text)
        said = theirs("ssh", file)
        assert said.returncode == 0, said.stderr
        mine = ours_of_client(file)
        found = differences(mine, said.stdout.splitlines(), rows, defaults)
        if "proxyjump" in text.lower() and "%C" in text:
            # Since 9.6 the host that is jumped from is in it.
            found.pop("controlpath", None)
        assert found == {}
        seen["both"] += 1

    check()
    print(f"{len(rows)} of {len(SshConfig.rows)} keywords are known to both;", seen)
    print("drawn:", drawn.keywords, drawn.criteria)
    assert drawn.share_of(rows, criteria) >= 0.95


@pytest.mark.peer("sshd")
def test_what_is_in_force_for_a_client_is_what_openssh_says(folder: Path) -> None:
    drawn = Drawn()
    rows = [row for row in known_to_both("sshd", folder) if row.spelling.lower() not in FAULTY]
    criteria = {
        name: values
        for name, values in SERVER_CRITERIA.items()
        if name not in {"rdomain", "version", "invalid-user"}
    }
    empty = folder / "empty"
    empty.write_text("")
    defaults = ours_of_server(empty)

    @FILES
    @given(
        config_files(
            rows, SERVER_VALUES, criteria, drawn, everywhere=False, outside=NEWLY_IN_MATCH
        )
    )
    def check(text: str) -> None:
        file = folder / "sshd_config"
        # Neither command is taken without somebody to run it as.
        file.write_text(f"{USERS}\n{text}")
        said = theirs("sshd", file, "-C", SPECIFICATION)
        assert said.returncode == 0, said.stderr
        mine = ours_of_server(file)
        # The one that it needs for printing anything.
        other = [line for line in said.stdout.splitlines() if not line.endswith("/host_key")]
        assert differences(mine, other, rows, defaults) == {}

    check()
    print(f"{len(rows)} of {len(SshdConfig.rows)} keywords are known to both")
    print("drawn:", drawn.keywords, drawn.criteria)
    assert drawn.share_of(rows, criteria) >= 0.95


@pytest.mark.peer("sshd")
def test_what_may_stand_in_a_block_is_what_openssh_lets_stand_there(folder: Path) -> None:
    ours, others = set(), set()
    for row in known_to_both("sshd", folder):
        name = row.spelling.lower()
        value = SERVER_VALUES.get(name, ("yes",))[0]
        file = folder / f"block_{row.attribute}"
        file.write_text(f"{USERS}\nMatch User nobody\n{row.spelling} {value}\n")
        if "is not allowed within a Match block" not in theirs("sshd", file).stderr:
            others.add(name)
        if row.in_match:
            ours.add(name)
    assert ours - {*NEWLY_IN_MATCH} == others - {*NEWLY_IN_MATCH}
    assert len(ours) > 40


def all_rows(table: type[KeywordFile]) -> list[Row[object]]:
    return list(table.rows.values())


def test_every_dump_of_a_client_reads_back_as_itself(folder: Path) -> None:
    drawn = Drawn()

    @FILES
    @given(config_files(all_rows(SshConfig), CLIENT_VALUES, CLIENT_CRITERIA, drawn, hosts=HOSTS))
    @example("")
    def check(text: str) -> None:
        file, again = folder / "first", folder / "again"
        file.write_text(text)
        first = ours_of_client(file)
        again.write_text("\n".join(line for line in first if not line.startswith("host ")))
        assert ours_of_client(again) == first

    check()
    print("drawn:", drawn.keywords, drawn.criteria)
    assert drawn.share(SshConfig, CLIENT_CRITERIA) >= 0.95


def test_every_dump_of_a_server_reads_back_as_itself(folder: Path) -> None:
    drawn = Drawn()
    rows = all_rows(SshdConfig)

    @FILES
    @given(config_files(rows, SERVER_VALUES, SERVER_CRITERIA, drawn, everywhere=False))
    @example("")
    def check(text: str) -> None:
        file, again = folder / "sfirst", folder / "sagain"
        file.write_text(text)
        first = ours_of_server(file)
        again.write_text("\n".join(first))
        assert ours_of_server(again) == first

    check()
    print("drawn:", drawn.keywords, drawn.criteria)
    assert drawn.share(SshdConfig, SERVER_CRITERIA) >= 0.95
