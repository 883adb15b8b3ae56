# SPDX-License-Identifier: MIT
"""Files by SFTP: one large one, many small ones, and both over a link of 100 ms.

Libraries are processes that are asked; the clock starts when the talk with the server has begun.
OpenSSH's client is a process for each run, and what one takes that fetches nothing is taken off.
"""

from __future__ import annotations

import contextlib
import filecmp
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.clients import Call, Library
from bench.latency import proxy
from bench.pairs import Bench, Pair
from bench.processes import BenchError, limited, start, wait_and_account
from bench.results import Column, Table
from bench.servers import program
from bench.settings import CURVE25519, GCM256, MIB
from bench.workspace import HOST

OPENSSH = Pair("openssh", "openssh")
TELLIN = Pair("tellin-library", "tellin")
TELLIN_TO_OPENSSH = Pair("tellin-library", "openssh")
ASYNCSSH = Pair("asyncssh", "asyncssh")
ASYNCSSH_TO_OPENSSH = Pair("asyncssh", "openssh")
PARAMIKO_TO_OPENSSH = Pair("paramiko", "openssh")
PAIRS = (
    OPENSSH,
    TELLIN,
    TELLIN_TO_OPENSSH,
    ASYNCSSH,
    ASYNCSSH_TO_OPENSSH,
    PARAMIKO_TO_OPENSSH,
)
_OURS = frozenset({TELLIN, TELLIN_TO_OPENSSH})
_VERBS = ("get", "put")
_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is moved: a file or a directory, of how many bytes or files."""

    path: Path
    amount: int


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One table a verb: what is moved by whom, on which ports."""

    name: str
    title: str
    metric: str
    loads: dict[Pair, Load]
    ports: dict[str, int]
    rounds: int


def run(bench: Bench) -> None:
    """Fill all tables. The files are in memory where there is such a place: no disk is measured."""
    settings = bench.settings
    place = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="tellin-bench-files-", dir=place) as name:
        folder = Path(name)
        pairs = bench.present(PAIRS)
        direct = {pair.server: bench.server(pair).port for pair in pairs}
        large = _large(folder, "large", settings.file_bytes)
        small = _small(folder, "small", settings.small_files, settings.small_file_bytes)
        size = settings.file_bytes // MIB
        count = settings.small_files
        _measure(
            bench,
            folder,
            Stage(
                name="files large",
                title=f"one file of {size} MiB, aes256-gcm",
                metric="MB/s",
                loads=dict.fromkeys(pairs, large),
                ports=direct,
                rounds=settings.rounds,
            ),
        )
        _measure(
            bench,
            folder,
            Stage(
                name="files small",
                title=f"{count} files of {settings.small_file_bytes} bytes",
                metric="files/s",
                loads=dict.fromkeys(pairs, small),
                ports=direct,
                rounds=settings.rounds,
            ),
        )
        _measure_delayed(bench, folder, pairs)


def _measure_delayed(bench: Bench, folder: Path, pairs: list[Pair]) -> None:
    settings = bench.settings
    fast = _large(folder, "fast", settings.delayed_file_bytes)
    slow = _large(folder, "slow", settings.delayed_slow_file_bytes)
    size = settings.small_file_bytes
    many = _small(folder, "many", settings.delayed_small_files, size)
    few = _small(folder, "few", settings.delayed_slow_small_files, size)
    trip = f"{settings.delay * 2e3:.0f} ms of round trip"
    with contextlib.ExitStack() as proxies:
        ports: dict[str, int] = {}
        for pair in pairs:
            if pair.server not in ports:
                ports[pair.server] = proxies.enter_context(proxy(bench, bench.server(pair).port))
        for name, metric, ours, others in (
            ("files delayed large", "MB/s", fast, slow),
            ("files delayed small", "files/s", many, few),
        ):
            _measure(
                bench,
                folder,
                Stage(
                    name=name,
                    title=f"{name.split()[-1]} files over {trip}; the others move fewer",
                    metric=metric,
                    loads={pair: ours if pair in _OURS else others for pair in pairs},
                    ports=ports,
                    rounds=settings.delayed_rounds,
                ),
            )


def _large(folder: Path, name: str, size: int) -> Load:
    path = folder / name
    block = bytes(range(256)) * (MIB // 256)
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(block)
    return Load(path=path, amount=size)


def _small(folder: Path, name: str, count: int, size: int) -> Load:
    path = folder / name
    path.mkdir()
    for number in range(count):
        (path / f"{number:05}").write_bytes(number.to_bytes(4, "big") * (size // 4))
    return Load(path=path, amount=count)


# ---- one stage ---------------------------------------------------------------------------------


def _measure(bench: Bench, folder: Path, stage: Stage) -> None:
    columns = (Column(metric=stage.metric, ratio=True), Column(metric="client peak MiB"))
    tables = {
        verb: bench.results.table(
            f"{stage.name} {verb}",
            f"SFTP {verb}: {stage.title}",
            columns,
            baseline=OPENSSH.name,
            note="login and start left out",
        )
        for verb in _VERBS
    }
    with contextlib.ExitStack() as clients:
        runs: dict[str, Callable[[], None]] = {}
        for pair, load in stage.loads.items():
            mover = _mover(bench, clients, pair, stage.ports[pair.server])
            for verb, table in tables.items():
                runs[f"{pair.name} {verb}"] = partial(
                    _sample,
                    folder=folder,
                    table=table,
                    pair=pair,
                    metric=stage.metric,
                    verb=verb,
                    load=load,
                    mover=mover,
                )
        bench.interleave(stage.name, runs, rounds=stage.rounds)


Mover = Callable[[str, Path, Path], dict[str, float]]


def _sample(
    *, folder: Path, table: Table, pair: Pair, metric: str, verb: str, load: Load, mover: Mover
) -> None:
    target = folder / "arrived"
    try:
        found = mover(verb, load.path, target)
        if not _same(load.path, target):
            raise BenchError("WRONG: what arrived is not what was sent")
    finally:
        shutil.rmtree(target, ignore_errors=True)
        target.unlink(missing_ok=True)
    unit = 1e6 if metric == "MB/s" else 1
    table.add(pair.name, metric, load.amount / unit / found["seconds"])
    if "peak" in found:
        table.add(pair.name, "client peak MiB", found["peak"] / 1024)


def _same(one: Path, other: Path) -> bool:
    if one.is_dir():
        names = sorted(path.name for path in one.iterdir())
        if names != sorted(path.name for path in other.iterdir()):
            return False
        return all(filecmp.cmp(one / name, other / name, shallow=False) for name in names)
    return filecmp.cmp(one, other, shallow=False)


def _mover(bench: Bench, clients: contextlib.ExitStack, pair: Pair, port: int) -> Mover:
    if pair.client == "openssh":
        return partial(_by_program, bench, port)
    call = Call(port=port, command="", protection=GCM256, kex=CURVE25519)
    library = clients.enter_context(bench.client(pair).library(bench.workspace, call))
    return partial(_by_library, library)


def _by_library(library: Library, verb: str, source: Path, target: Path) -> dict[str, float]:
    answer = library.ask("files", verb=verb, source=str(source), target=str(target))
    found = answer["result"]
    assert isinstance(found, dict)
    return found


def _by_program(
    bench: Bench, port: int, verb: str, source: Path, target: Path
) -> dict[str, float]:
    if source.is_dir() and verb == "put":
        target.mkdir()
        line = f'put -R "{source}/." "{target}"'
    else:
        line = f'{verb} -R "{source}" "{target}"'
    idle = _run_program(bench, port, "pwd")
    return {"seconds": max(_run_program(bench, port, line) - idle, 1e-6)}


def _run_program(bench: Bench, port: int, line: str) -> float:
    """Seconds of a whole process of OpenSSH's client."""
    workspace = bench.workspace
    options = {
        "UserKnownHostsFile": str(workspace.known_hosts),
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "LogLevel": "ERROR",
        "Ciphers": GCM256.cipher,
        "KexAlgorithms": CURVE25519,
        "User": workspace.user,
        "IdentityFile": str(workspace.identity),
    }
    argv = [program("sftp") or "sftp", "-q", "-F", "none", "-P", str(port), "-b", "-"]
    for keyword, value in options.items():
        argv += ["-o", f"{keyword}={value}"]
    errors = workspace.folder / "sftp.err"
    with errors.open("wb") as output:
        started = time.perf_counter()
        process = start(
            [*argv, HOST],
            environment=workspace.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=output,
        )
        assert process.stdin is not None
        with limited(process, bench.settings.patience):
            process.stdin.write(line.encode() + b"\n")
            process.stdin.close()
            wait_and_account(process)
        seconds = time.perf_counter() - started
    if process.returncode:
        said = errors.read_text(errors="replace").strip().splitlines()[-2:]
        raise BenchError(f"exit status {process.returncode}: {' | '.join(said)}")
    return seconds
