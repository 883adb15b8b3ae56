# SPDX-License-Identifier: MIT
"""Every algorithm with every peer: each once in CI, each with each other in ``make test-all``."""

import os
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest
from tests.interop.conftest import Make
from tests.interop.matrix import (
    QUICK_TRIES,
    common,
    couples,
    covering,
    every,
    pairwise,
    sealing,
    try_out,
    write_table,
)
from tests.interop.pairs import pairs
from tests.interop.peers import Algorithms
from tests.interop.tellin_peer import TellinServer

# A prime that divides the length of no list, so each part has some of every algorithm.
PARTS = 11
# All of it takes the better part of a day: without TELLIN_WHOLE one part is drawn by the seed.
SEED = os.environ.get("TELLIN_SEED") or "tellin"
DRAWN = range(PARTS) if os.environ.get("TELLIN_WHOLE") else [crc32(SEED.encode()) % PARTS]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("client", "server"), pairs())
def test_each_algorithm_that_both_have(client: str, server: str, tmp_path: Path) -> None:
    result = try_out(client, server, tmp_path, covering)
    assert result.tried >= max(map(len, result.lists.values()))
    assert not result.failures, "\n".join(result.failures)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("client", "server"), pairs())
def test_every_two_that_both_have(
    client: str, server: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    result = try_out(client, server, tmp_path, pairwise, tries=QUICK_TRIES)
    table = write_table(
        result, name="pairs", title="Every algorithm beside every other of its peer's"
    )
    record_property("table", str(table))
    assert not result.failures, f"{table}\n" + "\n".join(result.failures[:50])


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("part", DRAWN)
@pytest.mark.parametrize(("client", "server"), pairs())
def test_every_combination_that_both_have(
    client: str,
    server: str,
    part: int,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    result = try_out(client, server, tmp_path, every, tries=QUICK_TRIES, part=part, parts=PARTS)
    table = write_table(
        result,
        name="algorithms",
        title="Every key exchange x host key x cipher x MAC that both have",
    )
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
    # 16 kex, 8 host keys and 4 ciphers meet in none but their own turn.
    large = {
        kind: tuple(f"{kind}{n}" for n in range(count))
        for kind, count in {"kex": 16, "host_key": 8, "cipher": 4, "mac": 16}.items()
    }
    for lists in (ours, large):
        some = set(pairwise(lists))
        every_couple = {couple for one in every(lists) for couple in couples(one)}
        assert {couple for one in some for couple in couples(one)} == every_couple
        assert len(some) <= len(set(every(lists)))
    assert len(set(pairwise(large))) < 400
    assert common(ours, {**ours, "mac": ("o", "x")})["mac"] == ("o",)
