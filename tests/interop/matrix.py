# SPDX-License-Identifier: MIT
"""Which algorithms tellin and a peer both have, the combinations of them, and how each is tried.

A client that can be told every algorithm is told; for one that cannot (dbclient, plink) tellin's
server offers nothing else.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations, cycle, islice, product
from pathlib import Path

from tests.interop.pairs import ALL_CLIENTS
from tests.interop.peers import (
    KEY_KINDS,
    Algorithms,
    AsyncSSHServer,
    Client,
    DropbearServer,
    OpenSSHClient,
    OpenSSHServer,
    ParamikoServer,
    PlinkClient,
    Server,
    make_key,
    offer_of_server,
)
from tests.interop.raw import IDENTIFICATION
from tests.interop.scripts import asyncssh_task, paramiko_rounds, ssh2_rounds, tellin_rounds
from tests.interop.tellin_peer import TellinClient, TellinServer

from tellin.algorithms.finite_field import fixed_prime

ROOT = Path(__file__).parents[2]
KINDS = ("kex", "host_key", "cipher", "mac")
KEYWORDS = {
    "kex": "KexAlgorithms",
    "host_key": "HostKeyAlgorithms",
    "cipher": "Ciphers",
    "mac": "MACs",
}
DATA = (
    IDENTIFICATION * 455
)  # 5,005 bytes: several packets' worth of blocks, and no multiple of one
Lists = dict[str, tuple[str, ...]]

# The groups for group exchange: known ones, since a client that asks for 8192 bits and then tests
# the prime, as Node does with any that is not in an RFC, needs minutes for it.
GROUP_SIZES = (2048, 4096)
# Which host keys a server has at a time. Dropbear takes four at most.
HOST_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "dropbear": (("ed25519", "ecdsa256", "rsa"), ("ecdsa384", "ecdsa521")),
}
SIGNATURES = {
    "ed25519": ("ssh-ed25519",),
    "ecdsa256": ("ecdsa-sha2-nistp256",),
    "ecdsa384": ("ecdsa-sha2-nistp384",),
    "ecdsa521": ("ecdsa-sha2-nistp521",),
    "rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"),
}

# PuTTY's words for all it has; what stands before WARN it takes without a question.
PLINK_ALL = {
    "Cipher": "aesgcm,chacha20,aes,3des,blowfish,arcfour,WARN",
    "KEX": "ntru-curve25519,ecdh,dh-gex-sha1,dh-group18-sha512,dh-group17-sha512,"
    "dh-group16-sha512,dh-group15-sha512,dh-group14-sha1,dh-group1-sha1,rsa,WARN",
    "HostKey": "ed25519,ecdsa,rsa,ed448,dsa,WARN",
}


def sealing(cipher: str) -> bool:
    """Whether a cipher needs no MAC beside it."""
    return "gcm" in cipher or "poly1305" in cipher


def common(ours: Lists, theirs: Lists) -> Lists:
    """What both have, in our order; of host keys, those that the servers are given."""
    both = {kind: tuple(n for n in ours[kind] if n in theirs[kind]) for kind in KINDS}
    elsewhere = ("sk-", "-cert-", "mldsa")
    both["host_key"] = tuple(
        name for name in both["host_key"] if not any(word in name for word in elsewhere)
    )
    return both


def every(lists: Lists) -> Iterator[Algorithms]:
    """Every combination."""
    for kex, host_key, cipher in product(lists["kex"], lists["host_key"], lists["cipher"]):
        for mac in ("",) if sealing(cipher) else lists["mac"]:
            yield Algorithms(kex, host_key, cipher, mac)


def covering(lists: Lists) -> Iterator[Algorithms]:
    """As few as have each algorithm once."""
    plain = [cipher for cipher in lists["cipher"] if not sealing(cipher)]
    pairs = [(cipher, "") for cipher in lists["cipher"] if sealing(cipher)]
    if plain and lists["mac"]:
        count = max(len(plain), len(lists["mac"]))
        pairs += islice(zip(cycle(plain), cycle(lists["mac"]), strict=False), count)
    count = max(len(pairs), len(lists["kex"]), len(lists["host_key"]))
    columns = zip(cycle(lists["kex"]), cycle(lists["host_key"]), cycle(pairs), strict=False)
    for kex, host_key, (cipher, mac) in islice(columns, count):
        yield Algorithms(kex, host_key, cipher, mac)


def pairwise(lists: Lists) -> Iterator[Algorithms]:
    """A few hundred that have every algorithm beside every one of another kind.

    What goes wrong between algorithms goes wrong between two of them: the sizes of keys that one
    makes and the other wants, the order of cipher and MAC, a hash that is too short.
    """
    hosts, plain = lists["host_key"], [name for name in lists["cipher"] if not sealing(name)]
    sealed = [name for name in lists["cipher"] if sealing(name)]
    chosen: dict[Algorithms, None] = {}
    for at, kex in enumerate(lists["kex"]):
        for step, cipher in enumerate(sealed):
            chosen[Algorithms(kex, hosts[(at + step) % len(hosts)], cipher, "")] = None
        for step, mac in enumerate(lists["mac"] if plain else ()):
            cipher = plain[(at + step) % len(plain)]
            chosen[Algorithms(kex, hosts[(at + 2 * step) % len(hosts)], cipher, mac)] = None
    # Where the lengths of the lists have a common divisor, some never meet above.
    met = {couple for one in chosen for couple in couples(one)}
    for one in every(lists):
        if not met.issuperset(couples(one)):
            met |= couples(one)
            chosen[one] = None
    yield from chosen


def couples(one: Algorithms) -> set[tuple[str, str]]:
    """The couples of algorithms in a combination."""
    names = [f"{kind} {getattr(one, kind)}" for kind in KINDS if getattr(one, kind)]
    return set(combinations(names, 2))


# ------------------------------------------------------------------------- what a peer has


def _offered(client: Client, options: dict[str, str] | None = None) -> Lists:
    identity = make_key(client.directory / "offer_key")
    offer = client.offer(identity, options=options)
    return {kind: getattr(offer, kind) for kind in KINDS}


def _asyncssh() -> Lists:
    found = asyncssh_task("supported")
    assert isinstance(found, dict)
    return {kind: tuple(names) for kind, names in found.items()}


def _ssh2() -> Lists:
    found = ssh2_rounds(None, None)
    assert isinstance(found, dict)
    return {kind: tuple(names) for kind, names in found.items()}


def lists_of_client(name: str, directory: Path) -> Lists:
    """All that a peer's client can do, by its own word."""
    client = ALL_CLIENTS[name](directory)
    if isinstance(client, PlinkClient):
        return _offered(client, PLINK_ALL)
    if name == "asyncssh":
        return _asyncssh()
    if name == "ssh2":
        return _ssh2()
    known = client.supported()
    return known if known is not None else _offered(client)


def moduli(directory: Path) -> Path:
    """A file of groups, in moduli(5)'s form."""
    path = directory / "moduli"
    lines = [f"20040101000000 2 6 100 {size - 1} 2 {fixed_prime(size):X}" for size in GROUP_SIZES]
    path.write_text("\n".join(lines) + "\n", "ascii")
    return path


def make_server(name: str, directory: Path, keys: Sequence[str]) -> tuple[Server, Lists | None]:
    """A server, not started, that offers all it has; the lists where they are known before."""
    groups = moduli(directory)
    if name == "sshd":
        lists: Lists = OpenSSHClient(directory).supported()
        options: dict[str, object] = {KEYWORDS[kind]: ",".join(lists[kind]) for kind in KINDS}
        # ssh -Q lists certificates too, which a server without any cannot offer.
        plain = [name for name in lists["host_key"] if "-cert-" not in name and "sk-" not in name]
        options["HostKeyAlgorithms"] = ",".join(plain)
        options["ModuliFile"] = groups
        return OpenSSHServer(directory, host_keys=keys, options=options), lists
    if name == "asyncssh":
        lists = _asyncssh()
        # In our order of preference nothing changes: the client's decides.
        options = {
            "kex_algs": [n for n in lists["kex"] if not n.startswith(("gss-", "rsa"))],
            "encryption_algs": list(lists["cipher"]),
            "mac_algs": list(lists["mac"]),
            "signature_algs": [n for n in lists["host_key"] if not n.startswith("sk-")],
        }
        return AsyncSSHServer(directory, host_keys=keys, options=options), lists
    if name == "tellin":
        lists = TellinClient(directory).supported()
        options = {KEYWORDS[kind]: ",".join(lists[kind]) for kind in KINDS}
        options["ModuliFile"] = groups
        return TellinServer(directory, host_keys=keys, options=options), lists
    if name == "paramiko":
        # Without a file it offers group exchange in its first KEXINIT, and then cannot do it.
        return ParamikoServer(directory, host_keys=keys, options={"moduli": str(groups)}), None
    return DropbearServer(directory, host_keys=keys), None


def lists_of_server(server: Server, known: Lists | None) -> Lists:
    """All that a running server offers."""
    if known is not None:
        return known
    offer = offer_of_server("127.0.0.1", server.port)
    lists = {kind: getattr(offer, kind) for kind in KINDS}
    if isinstance(server, ParamikoServer):
        # It offers the hashes for RSA keys only once it has signed with one.
        lists["host_key"] += ("rsa-sha2-512", "rsa-sha2-256")
    return lists


# ------------------------------------------------------------------------- trying them


def _by_client(
    client: Client, server: Server, rounds: Sequence[Algorithms]
) -> Iterator[tuple[Algorithms, str]]:
    for algorithms in rounds:
        done = client.run(server.target, "cat", input=DATA, algorithms=algorithms)
        right = done.status == 0 and done.stdout == DATA
        yield algorithms, "" if right else f"status {done.status}: {done.stderr.decode()[-300:]}"


def _by_server(
    client: Client, server: Server, rounds: Sequence[Algorithms]
) -> Iterator[tuple[Algorithms, str]]:
    """tellin's server offers one algorithm of each kind after the other."""
    assert isinstance(server, TellinServer)
    told = PLINK_ALL if isinstance(client, PlinkClient) else {}
    for algorithms in rounds:
        only = {KEYWORDS[kind]: name for kind in KINDS if (name := getattr(algorithms, kind))}
        server.reload({**server.options, **only})
        done = client.run(server.target, "cat", input=DATA, options=told)
        right = done.status == 0 and done.stdout == DATA
        yield algorithms, "" if right else f"status {done.status}: {done.stderr.decode()[-300:]}"


def _by_library(task: Callable[..., object]) -> Callable[..., Iterator[tuple[Algorithms, str]]]:
    def trying(
        client: Client, server: Server, rounds: Sequence[Algorithms]
    ) -> Iterator[tuple[Algorithms, str]]:
        for at in range(0, len(rounds), 100):
            some = rounds[at : at + 100]
            found = task(server.target, [asdict(one) for one in some], seconds=900)
            assert isinstance(found, list)
            yield from zip(some, found, strict=True)

    return trying


def _asyncssh_rounds(target: object, rounds: list[dict[str, str]], *, seconds: float) -> object:
    return asyncssh_task("rounds", target, rounds=rounds, seconds=seconds)  # type: ignore[arg-type]


Tries = dict[str, Callable[..., Iterator[tuple[Algorithms, str]]]]
TRIES: Tries = {
    "ssh": _by_client,
    "tellin": _by_client,
    "dbclient": _by_server,
    "plink": _by_server,
    "asyncssh": _by_library(_asyncssh_rounds),
    "paramiko": _by_library(paramiko_rounds),
    "ssh2": _by_library(ssh2_rounds),
}
# Where there are thousands to try.
QUICK_TRIES: Tries = {**TRIES, "tellin": _by_library(tellin_rounds)}


@dataclass
class Result:
    """What came of some of the combinations of a pair."""

    client: str
    server: str
    lists: Lists
    part: int
    parts: int
    tried: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def try_out(
    client: str,
    server: str,
    directory: Path,
    choose: Callable[[Lists], Iterator[Algorithms]],
    *,
    tries: Tries = TRIES,
    part: int = 0,
    parts: int = 1,
) -> Result:
    """Let the two talk by each of the combinations that ``choose`` finds in what both have."""
    ours = TellinClient(directory).supported()
    made = Result(client, server, dict.fromkeys(KINDS, ()), part, parts)
    for keys in HOST_KEYS.get(server, (KEY_KINDS,)):
        making, known = make_server(server, directory, keys)
        with making as running:
            theirs = (
                lists_of_client(client, directory)
                if client != "tellin"
                else lists_of_server(running, known)
            )
            lists = common(ours, theirs)
            # Some offer what they have no key for.
            signing = {name for key in keys for name in SIGNATURES[key]}
            lists["host_key"] = tuple(name for name in lists["host_key"] if name in signing)
            rounds = list(choose(lists))[part::parts]
            for kind in KINDS:
                made.lists[kind] = tuple(dict.fromkeys((*made.lists[kind], *lists[kind])))
            started = time.monotonic()
            trying = tries[client](ALL_CLIENTS[client](directory), running, rounds)
            for algorithms, problem in trying:
                made.tried += 1
                if problem:
                    names = " ".join(filter(None, asdict(algorithms).values()))
                    made.failures.append(f"{names}: {problem}")
            made.seconds += time.monotonic() - started
    return made


# ------------------------------------------------------------------------- the table


def write_table(result: Result, *, name: str, title: str) -> Path:
    """Add a result to those of this run, and write the table of all of them."""
    folder = ROOT / "build" / "interop" / name
    run = folder / os.environ.get("PYTEST_XDIST_TESTRUNUID", f"run-{os.getpid()}")
    run.mkdir(parents=True, exist_ok=True)
    part = f"{result.client}-to-{result.server}-{result.part:02}.json"
    (run / part).write_text(json.dumps(asdict(result)), "utf-8")
    lines = [
        title,
        "",
        (
            f"{'client':10}{'server':10}{'kex':>5}{'keys':>6}{'ciphers':>9}{'MACs':>6}"
            f"{'tried':>9}{'failed':>8}{'seconds':>9}"
        ),
    ]
    rows: dict[tuple[str, str], list[dict]] = {}
    for path in sorted(run.glob("*.json")):
        found = json.loads(path.read_text("utf-8"))
        rows.setdefault((found["client"], found["server"]), []).append(found)
    for (client, server), parts in sorted(rows.items()):
        counts = [len(parts[0]["lists"][kind]) for kind in KINDS]
        failed = [line for part in parts for line in part["failures"]]
        left = parts[0]["parts"] - len(parts)
        lines.append(
            f"{client:10}{server:10}{counts[0]:5}{counts[1]:6}{counts[2]:9}{counts[3]:6}"
            f"{sum(part['tried'] for part in parts):9}{len(failed):8}"
            f"{sum(part['seconds'] for part in parts):9.0f}"
            + (f"   {left} of {parts[0]['parts']} parts still to come" if left else "")
        )
        lines += [f"    {line}" for line in failed[:20]]
    table = folder.with_suffix(".txt")
    fresh = table.with_name(f"{table.name}.{os.getpid()}")
    fresh.write_text("\n".join(lines) + "\n", "utf-8")
    fresh.rename(table)
    return table
