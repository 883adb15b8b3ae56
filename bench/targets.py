# SPDX-License-Identifier: MIT
"""What is to be reached: a figure of tellin's against another's, or against a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.results import Results


@dataclass(frozen=True)
class Figure:
    """A median by its full name."""

    table: str
    pair: str
    metric: str


@dataclass(frozen=True, kw_only=True)
class Target:
    """`ours` divided by `theirs` (or alone) must be at least, or at most, `bound`."""

    text: str
    ours: Figure
    theirs: Figure | None = None
    sense: Literal[">=", "<=", "<"]
    bound: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A target and what was found."""

    target: Target
    found: float | None

    @property
    def met(self) -> bool | None:
        """Whether it is reached; None when it was not measured."""
        if self.found is None:
            return None
        if self.target.sense == ">=":
            return self.found >= self.target.bound
        if self.target.sense == "<=":
            return self.found <= self.target.bound
        return self.found < self.target.bound

    @property
    def words(self) -> str:
        """Say "met", or by how much it was missed."""
        if self.found is None:
            return "not measured"
        if self.met:
            return "met"
        return f"missed by {abs(self.found / self.target.bound - 1) * 100:.0f} %"


def _rate(table: str, pair: str) -> Figure:
    return Figure(table, pair, "net MB/s")


def _bulk_targets() -> list[Target]:
    found = []
    for direction, over_uvloop in (("download", 2.5), ("upload", 1.6)):
        gcm = f"exec {direction} aes256-gcm"
        for other, bound in (("openssh", 1.2), ("uvloop", over_uvloop)):
            found.append(
                Target(
                    text=f"{gcm}, net MB/s: tellin / {other}",
                    ours=_rate(gcm, "tellin"),
                    theirs=_rate(gcm, other),
                    sense=">=",
                    bound=bound,
                )
            )
        found.append(
            Target(
                text=f"{gcm}, CPU s/GB of both sides: tellin / openssh",
                ours=Figure(gcm, "tellin", "CPU s/GB"),
                theirs=Figure(gcm, "openssh", "CPU s/GB"),
                sense="<=",
                bound=0.7,
            )
        )
        for cipher, bound in (("chacha20-poly1305", 1.4), ("aes256-ctr+etm", 1.1)):
            table = f"exec {direction} {cipher}"
            found.append(
                Target(
                    text=f"{table}, net MB/s: tellin / openssh",
                    ours=_rate(table, "tellin"),
                    theirs=_rate(table, "openssh"),
                    sense=">=",
                    bound=bound,
                )
            )
        library = f"library {direction}"
        found.append(
            Target(
                text=f"{library}, MB/s: tellin / uvloop",
                ours=Figure(library, "tellin-library", "MB/s"),
                theirs=Figure(library, "uvloop", "MB/s"),
                sense=">=",
                bound=4.0,
            )
        )
    gcm = "exec download aes256-gcm"
    for mixed in ("tellin->openssh", "openssh->tellin"):
        found.append(
            Target(
                text=f"{gcm}, net MB/s: {mixed} / openssh",
                ours=_rate(gcm, mixed),
                theirs=_rate(gcm, "openssh"),
                sense=">=",
                bound=1.0,
            )
        )
    return found


def _login_targets() -> list[Target]:
    process, inside = "login process curve25519", "login in-process spawned"
    return [
        *(
            Target(
                text=f"`ssh host true`, curve25519, ms: {pair} / openssh",
                ours=Figure(process, pair, "ms"),
                theirs=Figure(process, "openssh", "ms"),
                sense="<=",
                bound=bound,
            )
            for pair, bound in (("tellin->openssh", 1.1), ("tellin", 0.75))
        ),
        Target(
            text="in-process login + exec + close, ms: tellin / asyncssh",
            ours=Figure(inside, "tellin-library", "ms"),
            theirs=Figure(inside, "asyncssh", "ms"),
            sense="<=",
            bound=0.4,
        ),
        Target(
            text="embedded tellin server, CPU ms a login",
            ours=Figure("login in-process handled", "tellin-library", "server CPU ms"),
            sense="<=",
            bound=3.0,
        ),
    ]


def _small_targets() -> list[Target]:
    found = [
        Target(
            text=f"commands/s on one connection, {how}: tellin / asyncssh",
            ours=Figure(f"commands {how}", "tellin-library", "commands/s"),
            theirs=Figure(f"commands {how}", "asyncssh", "commands/s"),
            sense=">=",
            bound=bound,
        )
        for how, bound in (("spawned", 1.4), ("handled", 2.0))
    ]
    found.append(
        Target(
            text="keystroke echo, us p50: tellin / openssh",
            ours=Figure("echo terminal", "tellin", "p50 us"),
            theirs=Figure("echo terminal", "openssh", "p50 us"),
            sense="<=",
            bound=1.5,
        )
    )
    found.append(
        Target(
            text="idle session of an embedded tellin server, KiB",
            ours=Figure("memory", "tellin-library-handler", "KiB a session"),
            sense="<=",
            bound=25.0,
        )
    )
    for pair in ("tellin", "tellin->openssh"):
        found.append(
            Target(
                text=f"login round trips: {pair} / openssh",
                ours=Figure("latency login", pair, "round trips"),
                theirs=Figure("latency login", "openssh", "round trips"),
                sense="<",
                bound=1.0,
            )
        )
    for direction in ("download", "upload"):
        table = f"latency {direction}"
        found.append(
            Target(
                text=f"100 ms round trip, {direction}, net MB/s: tellin / openssh",
                ours=_rate(table, "tellin"),
                theirs=_rate(table, "openssh"),
                sense=">=",
                bound=10.0,
            )
        )
    return found


def _key_targets() -> list[Target]:
    return [
        Target(
            text="`ssh-keygen -t ed25519` without a passphrase, ms",
            ours=Figure("keygen plain", "tellin", "ms"),
            sense="<=",
            bound=80.0,
        ),
        Target(
            text="`ssh-keygen -t ed25519` with a passphrase, ms: tellin / openssh",
            ours=Figure("keygen encrypted", "tellin", "ms"),
            theirs=Figure("keygen encrypted", "openssh", "ms"),
            sense="<=",
            bound=1.3,
        ),
    ]


def _tunnel_targets() -> list[Target]:
    found = [
        Target(
            text=f"tunnel {way} {direction}, MB/s: tellin / openssh",
            ours=Figure(f"tunnel {way}", "tellin", f"{direction} MB/s"),
            theirs=Figure(f"tunnel {way}", "openssh", f"{direction} MB/s"),
            sense=">=",
            bound=1.2,
        )
        for way in ("-L", "-D")
        for direction in ("down", "up")
    ]
    connections = "16 at a time/s"
    for other, bound in (("uvloop", 2.0), ("openssh", 0.5)):
        table = "tunnel connections -L"
        found.append(
            Target(
                text=f"{table}, {connections}: tellin / {other}",
                ours=Figure(table, "tellin", connections),
                theirs=Figure(table, other, connections),
                sense=">=",
                bound=bound,
            )
        )
    found.append(
        Target(
            text="`ssh -S host true`, ms: tellin / openssh",
            ours=Figure("sharing", "tellin", "ms"),
            theirs=Figure("sharing", "openssh", "ms"),
            sense="<=",
            bound=3.0,
        )
    )
    found.append(
        Target(
            text="tunnel flows: with one stalled, of the rate without",
            ours=Figure("tunnel flows", "tellin", "stalled/free"),
            sense=">=",
            bound=0.9,
        )
    )
    return found


def _file_targets() -> list[Target]:
    found = []
    for stage, metric, bound in (
        ("large", "MB/s", 1.8),
        ("small", "files/s", 1.3),
        ("delayed large", "MB/s", 5.0),
        ("delayed small", "files/s", 50.0),
    ):
        for verb in ("get", "put"):
            table = f"files {stage} {verb}"
            found.append(
                Target(
                    text=f"SFTP {verb}, {stage}, {metric}: tellin / openssh",
                    ours=Figure(table, "tellin-library->tellin", metric),
                    theirs=Figure(table, "openssh", metric),
                    sense=">=",
                    bound=bound,
                )
            )
    for verb in ("get", "put"):
        table = f"files large {verb}"
        for other, bound in (("openssh", 1.0), ("paramiko->openssh", 4.0)):
            found.append(
                Target(
                    text=f"SFTP {verb}, large, at OpenSSH's server, MB/s: tellin / {other}",
                    ours=Figure(table, "tellin-library->openssh", "MB/s"),
                    theirs=Figure(table, other, "MB/s"),
                    sense=">=",
                    bound=bound,
                )
            )
    return found


TARGETS: tuple[Target, ...] = (
    *_bulk_targets(),
    *_login_targets(),
    *_small_targets(),
    *_key_targets(),
    *_tunnel_targets(),
    *_file_targets(),
)


def judge(results: Results) -> list[Verdict]:
    """Hold every target against the medians of a run; parts that did not run give None."""
    verdicts = []
    for target in TARGETS:
        ours = results.median(target.ours.table, target.ours.pair, target.ours.metric)
        found = ours
        if target.theirs is not None:
            theirs = results.median(target.theirs.table, target.theirs.pair, target.theirs.metric)
            found = ours / theirs if ours is not None and theirs else None
        verdicts.append(Verdict(target=target, found=found))
    return verdicts
