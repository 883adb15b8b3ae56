# SPDX-License-Identifier: MIT
"""Certificates between the programs: a user's for five minutes, and a host's instead of a question."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.certified import authority, host_certificate, user_certificate
from tests.interop.pairs import ALL_SERVERS, pairs
from tests.interop.peers import Client, Server, make_key
from tests.interop.target import KeyFile, my_name
from tests.library import awaited, obey

import tellin
from tellin.keys import Certificate, RevocationList, load_public_key

MEETINGS = pytest.mark.parametrize(
    ("client", "server"), pairs(clients=["ssh", "tellin"], servers=["sshd", "tellin"])
)
STOLEN = 666


class Place:
    """A server that trusts our authority and shows a certificate of its own."""

    def __init__(self, kind: str, directory: Path) -> None:
        trusted, revoked = directory / "ca.pub", directory / "revoked"
        trusted.write_text(authority().public.to_line() + "\n", "ascii")
        listed = RevocationList()
        listed.add_serials(STOLEN, authority=authority().public)
        revoked.write_bytes(listed.to_bytes())
        certificate = directory / "host-cert.pub"
        options = {
            "TrustedUserCAKeys": trusted,
            "RevokedKeys": revoked,
            "HostCertificate": certificate,
            "AuthorizedKeysFile": "none",
        }
        self.server: Server = ALL_SERVERS[kind](directory, options=options)
        self.host_key = load_public_key(self.server.host_keys[0].public.encode())
        self._certificate = certificate
        self.certify("127.0.0.1")

    def certify(self, *names: str, **changes: Any) -> None:
        """Give the host a certificate; the server reads it when it starts."""
        made = host_certificate(self.host_key, *names, **changes)
        self._certificate.write_text(made.to_line() + "\n", "ascii")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    started: dict[str, Server] = {}

    def one(kind: str) -> Server:
        if kind not in started:
            started[kind] = Place(kind, tmp_path_factory.mktemp(f"{kind}-ca")).server.start()
        return started[kind]

    yield one
    for running in started.values():
        running.stop()


def log_in(
    peer: Client,
    running: Server,
    key: KeyFile,
    certificate: Certificate | None,
    *,
    known_hosts: str | None = None,
    more: Mapping[str, object] | None = None,
) -> Any:
    """A login with nothing but a key and its certificate; by default the authority proves the host."""
    place = peer.directory
    records = place / "records"
    line = f"@cert-authority * {authority().public.to_line()}\n"
    records.write_text(line if known_hosts is None else known_hosts, "utf-8")
    options: dict[str, object] = {"UserKnownHostsFile": records, **(more or {})}
    if certificate is not None:
        path = place / "certificate"
        path.write_text(certificate.to_line() + "\n", "utf-8")
        options["CertificateFile"] = path
    target = running.target
    described = type(target)(**{**vars(target), "identity": key})
    return peer.run(described, "echo inside", options=options)


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    return make_key(tmp_path / "id")


@pytest.fixture
def met(
    client: str,
    server: str,
    places: Callable[[str], Server],
    make_client: Callable[[str], Client],
) -> tuple[Client, Server]:
    """A client and such a server."""
    return make_client(client), places(server)


@MEETINGS
def test_a_certificate_for_five_minutes_logs_in_and_a_hosts_leaves_no_question(
    met: tuple[Client, Server], key: KeyFile
) -> None:
    peer, running = met
    public = load_public_key(key.public.encode())
    # The key alone is nobody's.
    refused = log_in(peer, running, key, None)
    assert refused.status == 255
    assert b"Permission denied" in refused.stderr
    done = log_in(peer, running, key, user_certificate(public, running.user))
    assert (done.status, done.stdout, done.stderr) == (0, b"inside\n", b"")
    log = running.log()
    issuer = authority().public.fingerprint()
    assert (
        f'Accepted certificate ID "five minutes" (serial 7) signed by ED25519 CA {issuer}' in log
    )
    assert (
        f"ssh2: ED25519-CERT {key.fingerprint} ID five minutes (serial 7) CA ED25519 {issuer}"
        in log
    )


def _ways(public: Any, user: str) -> dict[str, Certificate]:
    now = time.time()
    return {
        "expired": user_certificate(public, user, now=now - 600),
        "not yet valid": user_certificate(public, user, now=now + 600),
        "revoked": user_certificate(public, user, serial=STOLEN),
        "no principals": user_certificate(public),
        "another principal": user_certificate(public, "somebody-else"),
        "two in one": user_certificate(public, f"{user},other"),
        "wrong source": user_certificate(
            public, user, options={"source-address": "192.0.2.0/24,2001:db8::/32"}
        ),
        "unknown option": user_certificate(public, user, options={"only@example": "x"}),
        "another authority": user_certificate(public, user, signer=authority(1)),
        "a host's": host_certificate(public, user),
    }


# What OpenSSH 9.2 says; it does not give all of the reasons in one form.
REASONS = {
    "expired": "Certificate invalid: expired",
    "not yet valid": "Certificate invalid: not yet valid",
    "revoked": "revoked by file",
    "no principals": "Certificate lacks principal list",
    "another principal": "Certificate invalid: name is not a listed principal",
    "two in one": "Certificate invalid: name is not a listed principal",
    "wrong source": "Refused by certificate options",
}


@MEETINGS
@pytest.mark.parametrize("way", [*REASONS, "unknown option", "another authority", "a host's"])
def test_r100_r101_r103_r104_a_certificate_that_does_not_hold_logs_nobody_in(
    met: tuple[Client, Server], way: str, key: KeyFile
) -> None:
    peer, running = met
    certificate = _ways(load_public_key(key.public.encode()), running.user)[way]
    before = len(running.log())
    done = log_in(peer, running, key, certificate)
    assert done.status == 255
    assert b"Permission denied" in done.stderr
    assert REASONS.get(way, "") in running.log()[before:]


@MEETINGS
def test_what_a_certificate_demands_is_what_happens(
    met: tuple[Client, Server], key: KeyFile
) -> None:
    peer, running = met
    certificate = user_certificate(
        load_public_key(key.public.encode()),
        running.user,
        options={
            "force-command": "echo forced: $SSH_ORIGINAL_COMMAND",
            "source-address": "127.0.0.0/8",
        },
    )
    done = log_in(peer, running, key, certificate)
    assert (done.status, done.stdout) == (0, b"forced: echo inside\n"), done.stderr


# The host's


def _trust(host: str = "*", number: int = 0) -> str:
    return f"@cert-authority {host} {authority(number).public.to_line()}\n"


@MEETINGS
def test_r106_a_hosts_certificate_is_believed_of_an_authority_on_record_alone(
    met: tuple[Client, Server], key: KeyFile
) -> None:
    peer, running = met
    certificate = user_certificate(load_public_key(key.public.encode()), running.user)
    name = f"[127.0.0.1]:{running.port}"
    plain = running.host_keys[0].public
    good = [
        _trust(name),
        _trust("127.0.0.*"),
        # R106: nobody vouches, and the key itself is on record.
        f"{name} {plain}\n",
        _trust(name, 1) + f"{name} {plain}\n",
    ]
    for records in good:
        done = log_in(peer, running, key, certificate, known_hosts=records)
        assert (done.status, done.stdout, done.stderr) == (0, b"inside\n", b""), (
            records,
            done.stderr,
        )
    bad = [
        "",
        _trust("elsewhere"),
        _trust(name, 1),
        f"@revoked * {authority().public.to_line()}\n" + _trust(name),
        f"@revoked * {plain}\n" + _trust(name),
        # Trusted and revoked both: revoked (case 311).
        f"@revoked * {plain}\n" + _trust(name) + f"{name} {plain}\n",
    ]
    for records in bad:
        done = log_in(peer, running, key, certificate, known_hosts=records)
        assert (done.status, done.stdout) == (255, b""), records
        assert b"Host key verification failed" in done.stderr or b"revoked" in done.stderr


@MEETINGS
@pytest.mark.parametrize("what", ["the authority", "the key", "the serial", "unreadable"])
def test_r104_case_298_revoked_host_keys_refuse_a_certificate(
    met: tuple[Client, Server], what: str, key: KeyFile, tmp_path: Path
) -> None:
    peer, running = met
    certificate = user_certificate(load_public_key(key.public.encode()), running.user)
    listed, path = RevocationList(), tmp_path / "revoked"
    match what:
        case "the authority":
            listed.add_key(authority().public)
        case "the key":
            listed.add_key(load_public_key(running.host_keys[0].public.encode()))
        case "the serial":
            listed.add_serials(7, authority=authority().public)
    if what != "unreadable":
        path.write_bytes(listed.to_bytes())
    done = log_in(peer, running, key, certificate, more={"RevokedHostKeys": path})
    assert (done.status, done.stdout) == (255, b"")
    assert b"revoked" in done.stderr


# OpenSSH 9.2 lets a host's certificate without names prove any host, as it did before 10.3.
WRONG = [
    (client, way)
    for client in ("ssh", "tellin")
    for way in ("another name", "expired", "nobody's", "a user's")
    if (client, way) != ("ssh", "nobody's")
]


@pytest.mark.peer("openssh")
@pytest.mark.parametrize(("client", "way"), WRONG)
def test_r101_a_hosts_certificate_that_does_not_hold_proves_nothing(
    client: str,
    way: str,
    make_client: Callable[[str], Client],
    tmp_path: Path,
    key: KeyFile,
) -> None:
    peer, place = make_client(client), Place("tellin", tmp_path)
    match way:
        case "another name":
            place.certify("elsewhere")
        case "expired":
            place.certify("127.0.0.1", now=time.time() - 600)
        case "nobody's":
            place.certify()
        case "a user's":
            place.certify("127.0.0.1", role=1)
    certificate = user_certificate(load_public_key(key.public.encode()), my_name())
    with place.server as running:
        done = log_in(peer, running, key, certificate)
        assert (done.status, done.stdout) == (255, b"")
        # With the key itself on record it is as good as without a certificate.
        plain = running.target.known_hosts()
        done = log_in(peer, running, key, certificate, known_hosts=_trust() + plain)
        assert (done.status, done.stdout) == (0, b"inside\n"), done.stderr


# The library, whose clock is the program's


@awaited
async def test_a_clock_of_ones_own_ends_a_certificate_on_either_side() -> None:
    user, host = tellin.PrivateKey.generate("ed25519"), tellin.PrivateKey.generate("ed25519")
    now = time.time()
    clocks = {"client": now, "server": now}
    trusted = authority().public
    async with tellin.serve(
        host_keys=[host],
        host_certificates=[host_certificate(host.public, "127.0.0.1")],
        authorities=trusted,
        session=obey,
        encoding=None,
        clock=lambda: clocks["server"],
    ) as server:

        async def enter() -> tellin.Connection:
            return await tellin.connect(
                "127.0.0.1",
                port=server.port,
                user="alice",
                keys=[user],
                certificates=[user_certificate(user.public, "alice")],
                known_hosts=tellin.KnownHosts.parse(f"@cert-authority * {trusted.to_line()}\n"),
                config=None,
                clock=lambda: clocks["client"],
            )

        async with await enter() as connection:
            assert (await connection.run("status 3")).exit_status == 3
            assert connection.host_key == host.public
            assert connection.host_certificate is not None
            assert connection.host_certificate.principals == ("127.0.0.1",)
        clocks["server"] = now + 301
        with pytest.raises(tellin.AuthenticationFailed):
            await enter()
        clocks |= {"server": now, "client": now + 301}
        with pytest.raises(tellin.HostKeyUnknown):
            await enter()
        clocks["client"] = now - 90
        with pytest.raises(tellin.HostKeyUnknown):
            await enter()
