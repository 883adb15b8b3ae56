# SPDX-License-Identifier: MIT
"""Every algorithm with every peer: each once in CI, each with each other in ``make test-all``."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.interop.conftest import Make
from tests.interop.matrix import (
    QUICK_TRIES,
    common,
    covering,
    every,
    sealing,
    try_out,
    write_table,
)
from tests.interop.pairs import pairs
from tests.interop.peers import Algorithms
from tests.interop.tellin_peer import TellinServer

# A prime that divides the length of no list, so each part has some of every algorithm.
PARTS = 11


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("client", "server"), pairs())
def test_each_algorithm_that_both_have(client: str, server: str, tmp_path: Path) -> None:
    result = try_out(client, server, tmp_path, covering)
    assert result.tried >= max(map(len, result.lists.values()))
    assert not result.failures, "\n".join(result.failures)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(("client", "server"), pairs())
def test_every_combination_that_both_have(
    client: str,
    server: str,
    part: int,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    result = try_out(client, server, tmp_path, every, tries=QUICK_TRIES, part=part, parts=PARTS)
    table = write_table(result)
    record_property("table", str(table))
    assert not result.failures, f"{table}\n" + "\n".join(result.failures[:50])


# plink's and dbclient's compression is on by default or by their own flags; both sides' counters
# are their own, so one command with much to compress will do.
COMPRESSING = pairs(
    clients=("ssh", "plink", "asyncssh", "ssh2", "tellin"),
    servers=("sshd", "dropbear", "asyncssh", "tellin"),
)


@pytest.mark.parametrize(("client", "server"), COMPRESSING)
def test_compression(
    client: str, server: str, running: object, make_client: Make, tmp_path: Path
) -> None:
    data = b"the same words again and again, " * 20_000
    if server == "tellin":
        with TellinServer(tmp_path, options={"Compression": "delayed"}) as own:
            target = own.target
            compressed = Algorithms(compression="zlib@openssh.com")
            done = make_client(client).run(target, "cat", input=data, algorithms=compressed)
    else:
        target = running(server).target  # type: ignore[operator]
        compressed = Algorithms(compression="zlib@openssh.com")
        done = make_client(client).run(target, "cat", input=data, algorithms=compressed)
    assert (done.stdout == data) is True, (len(done.stdout), done.stderr)
    assert done.status == 0


def test_the_sample_has_each_algorithm_and_the_whole_has_each_combination() -> None:
    ours = {
        "kex": ("a", "b", "c"),
        "host_key": ("k",),
        "cipher": ("aes128-ctr", "aes256-gcm@openssh.com"),
        "mac": ("m", "n", "o"),
    }
    sample = list(covering(ours))
    for kind, names in ours.items():
        assert {getattr(one, kind) for one in sample} - {""} == set(names)
    assert all(bool(one.mac) != sealing(one.cipher) for one in sample)
    assert len(set(every(ours))) == 3 * 1 * (1 + 3)
    assert common(ours, {**ours, "mac": ("o", "x")})["mac"] == ("o",)
