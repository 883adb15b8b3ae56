# SPDX-License-Identifier: MIT
"""``python -m bench``: choose the parts, run them, write the report, leave nothing behind."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Sequence

from bench import (
    commands,
    echo,
    exec_bulk,
    files,
    keys,
    latency,
    library,
    login,
    memory,
    processes,
    report,
    sharing,
    tunnels,
)
from bench.pairs import Bench
from bench.results import Results
from bench.servers import Servers
from bench.settings import Settings
from bench.workspace import make_workspace

PARTS: dict[str, tuple[Callable[[Bench], None], str]] = {
    "exec": (exec_bulk.run, "exec download and upload per cipher, CPU of both sides"),
    "library": (library.run, "library to library, from memory to nowhere"),
    "login": (login.run, "whole process, in one process, eight at once; server CPU a login"),
    "commands": (commands.run, "commands a second on one connection"),
    "memory": (memory.run, "server memory of idle sessions"),
    "echo": (echo.run, "keystroke echo, p50 and p99"),
    "keys": (keys.run, "ssh-keygen, with and without a passphrase"),
    "sharing": (sharing.run, "`ssh -S`: commands by way of a master"),
    "tunnels": (tunnels.run, "forwarded ports: large flows, short connections, one that stalls"),
    "files": (files.run, "SFTP: one large file, many small ones, and both over 100 ms"),
    "latency": (latency.run, "100 ms of round trip: exec both ways, round trips of a login"),
}


_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the parts and end")
    parser.add_argument(
        "--only", action="append", metavar="NAME", choices=sorted(PARTS), help="repeatable"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, 3 rounds")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds instead of 5 (quick: 3)")
    return parser.parse_args(argv)


def _interrupt(number: int, frame: object) -> None:
    """Leave by the same way as Ctrl-C, and let nothing disturb the taking down."""
    for each in _INTERRUPTS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(argv: Sequence[str]) -> int:
    """0 when every figure could be taken (met or missed), 1 when something failed, 130 for ^C."""
    arguments = _arguments(argv)
    if arguments.list:
        for name, (_, text) in PARTS.items():
            print(f"{name:10} {text}")
        return 0
    settings = Settings.quickly() if arguments.quick else Settings()
    if arguments.rounds:
        rounds = max(arguments.rounds, 1)
        settings = dataclasses.replace(settings, rounds=rounds, delayed_rounds=rounds)
    for number in _INTERRUPTS:
        signal.signal(number, _interrupt)
    processes.adopt_orphans()
    results = Results()
    try:
        return _measure(settings, results, arguments.only or list(PARTS))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing was written\n")
        return 130
    finally:
        processes.end_everything()


def _measure(settings: Settings, results: Results, chosen: list[str]) -> int:
    with (
        make_workspace(check_bytes=settings.check_bytes) as workspace,
        Servers(workspace) as servers,
    ):
        if not workspace.enclosure:
            sys.stderr.write(
                f"note: the programs' sessions use {workspace.shell} with its start-up files "
                "(only root can give them /bin/sh and an empty home for the run)\n"
            )
        bench = Bench(workspace=workspace, servers=servers, settings=settings, results=results)
        for name in chosen:
            started = time.monotonic()
            PARTS[name][0](bench)
            results.seconds[name] = round(time.monotonic() - started, 1)
            bench.say(f"{name} took {results.seconds[name]:.0f} s")
    everything = len(chosen) == len(PARTS)
    text = "\n".join(report.lines(results, settings, everything=everything)) + "\n"
    sys.stdout.write(text)
    sys.stdout.flush()
    try:
        sys.stderr.write(f"written to {report.keep(results, settings, text)}\n")
    except OSError as error:
        sys.stderr.write(f"the results could not be kept: {error}\n")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
