# SPDX-License-Identifier: MIT
"""R115: whatever file is taken, the server that runs by it serves its next connection by it.

Random files go to one server, each by SIGHUP. What `sshd -t` refuses is passed over; by all else a
client logs in and runs a command, unless a keyword of the file is the reason why it may not.
"""

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from tests.config.drawing import SERVER_CRITERIA, SERVER_VALUES, Drawn, config_files
from tests.interop.tellin_peer import TellinServer, tellin
from tests.server.caller import Caller

from tellin.algorithms.ciphers import CIPHERS
from tellin.algorithms.key_exchange import KEY_EXCHANGES
from tellin.algorithms.macs import MACS
from tellin.config.sshd_config import SshdConfig
from tellin.config.sshd_reading import Peer, SshdSettings, read_sshd_config
from tellin.connection.requests import ExecRequest, ExitStatus
from tellin.errors import ConfigError
from tellin.keys.formats import load_private_key
from tellin.protocol.events import Authenticated
from tellin.runtime.privileges import Account
from tellin.runtime.surroundings import LocalSurroundings
from tellin.server.authentication.access import group_names
from tellin.server.settings import algorithms, check, core_settings
from tellin.transport.version import IDENTIFICATION

# The server's own place, and what says which file it runs by.
FIXED = {
    "addressfamily", "hostcertificate", "hostkey", "listenaddress", "pidfile", "port", "strictmodes",
    "versionaddendum",
}  # fmt: skip


class Served:
    """A server, the files that it gets, and the client that tries each."""

    def __init__(self, server: TellinServer) -> None:
        self.server = server
        self.key = load_private_key(server.identity.path.read_bytes())
        self.account = Account.named(server.user)
        self.keys = server.directory / "authorized_keys"
        self.file = server.directory / "sshd_config"
        self.number = 0
        self.ends: Counter[str] = Counter()

    def values(self) -> dict[str, tuple[str, ...]]:
        """What SERVER_VALUES has, and what matters to a client that is really there."""
        user = self.server.user
        return {
            **{name: tuple(values) for name, values in SERVER_VALUES.items()},
            "ciphers": (*CIPHERS.names(), "-aes*", "+aes128-ctr", "nonsense"),
            "macs": (*MACS.names(), "^hmac-sha2-512"),
            "kexalgorithms": (*KEY_EXCHANGES.names(), "-mlkem*"),
            "hostkeyalgorithms": ("ssh-ed25519", "rsa-sha2-512,ssh-ed25519", "rsa-sha2-512"),
            "pubkeyacceptedalgorithms": ("ssh-ed25519", "rsa-sha2-256", "-ssh-rsa", "nonsense"),
            "allowusers": (user, "*", f"{user}@127.0.0.0/8", "ann"),
            "denyusers": ("eve", f"{user}@192.0.2.1", user),
            "allowgroups": ("*", "wheel"),
            "denygroups": ("wheel", "a* b"),
            "authenticationmethods": (
                "any",
                "publickey",
                "password publickey",
                "publickey,password",
            ),
            "authorizedkeysfile": (str(self.keys), f"/k/%u {self.keys}", "none", "/k/%q"),
            "clientaliveinterval": ("0", "90", "2m"),
            "forcecommand": ("none", "echo 'a  b' # kept", "exit 42"),
            "logingracetime": ("0", "90", "2m"),
            "maxstartups": ("50", "20:30:100"),
            "refuseconnection": ("no", "no", "yes"),
            "rekeylimit": ("1G 1h", "512K 30m", "16", "default none"),
            "revokedkeys": ("none", str(self.keys), "/nonexistent"),
            "securityprofile": ("default", "default", "strict"),
            "subsystem": ("sftp internal-sftp", "echo /bin/cat -u"),
        }

    def criteria(self) -> dict[str, tuple[str, ...]]:
        user = self.server.user
        return {
            **{name: tuple(values) for name, values in SERVER_CRITERIA.items()},
            "user": (user, "*", f"!{user},*", "bob"),
            "host": ("127.0.0.1", "*.example"),
            "address": ("127.0.0.0/8", "!127.0.0.1,*", "127.0.0.?", "2001:db8::/32"),
            "localaddress": ("127.0.0.1", "10.0.0.0/8"),
            "localport": (str(self.server.port), "22"),
            "version": ("SSH-2.0-*", "OpenSSH*"),
        }

    def write(self, drawn: str) -> None:
        """The file: our own lines first, and where no line of the file says who may in, ours do."""
        self.number += 1
        lines = drawn.split("\n")
        blocks = (at for at, line in enumerate(lines) if line.strip().lower().startswith("match"))
        at = next(blocks, len(lines))
        text = [
            f"VersionAddendum file {self.number}",
            f"Port {self.server.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.server.host_keys[0].path}",
            "PidFile none",
            "StrictModes no",
            "AuthorizedKeysCommandUser nobody",
            "AuthorizedPrincipalsCommandUser nobody",
            *lines[:at],
            f"AuthorizedKeysFile {self.keys}",
            "PermitRootLogin yes",
            *lines[at:],
        ]
        fresh = self.file.with_suffix(".new")
        fresh.write_text("\n".join(text) + "\n")
        fresh.rename(self.file)

    def accepted(self) -> SshdSettings | None:
        """What `sshd -t` makes of the file; None where it refuses."""
        try:
            found = read_sshd_config(LocalSurroundings(), file=str(self.file))
            check(found)
            core_settings(
                found.always, [load_private_key(self.server.host_keys[0].path.read_bytes())], None
            )
        except ConfigError:
            return None
        return found

    def take(self) -> None:
        """Let the server read it; returns when connections are served by it."""
        child = self.server.child
        assert child is not None
        child.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 60
        while not self._first_line().endswith(f" file {self.number}".encode()):
            assert time.monotonic() < until, (self.file.read_text(), self.server.log()[-2000:])
            time.sleep(0.01)

    def _first_line(self) -> bytes:
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=60) as probe:
            return probe.recv(300).strip()

    def effective(self, found: SshdSettings, version: str) -> SshdConfig:
        assert self.account is not None
        return found.for_peer(
            Peer(
                user=self.server.user,
                groups=tuple(group_names(self.account)),
                host="127.0.0.1",
                address="127.0.0.1",
                local_address="127.0.0.1",
                local_port=self.server.port,
                routing_domain="",
                version=version,
            )
        )

    def reasons(self, config: SshdConfig) -> list[str]:
        """The keywords that keep our key out."""
        assert self.account is not None
        user, groups = self.server.user, group_names(self.account)
        ours = (user, f"{user}@127.0.0.0/8")

        def listed(patterns: tuple[str, ...]) -> bool:
            return any(one in ours or fnmatchcase(user, one) for one in patterns)

        def among(patterns: tuple[str, ...]) -> bool:
            return any(fnmatchcase(group, one) for group in groups for one in patterns)

        lists = config.authentication_methods
        root = self.account.uid == 0 and config.permit_root_login
        told = {
            "PubkeyAuthentication": not config.pubkey_authentication,
            "AuthenticationMethods": lists != ("any",) and "publickey" not in lists,
            "AuthorizedKeysFile": str(self.keys) not in config.authorized_keys_file,
            "PubkeyAcceptedAlgorithms": "ssh-ed25519" not in algorithms(config).user_keys,
            "RevokedKeys": bool(config.revoked_keys),
            "RefuseConnection": config.refuse_connection,
            "DenyUsers": listed(config.deny_users),
            "AllowUsers": bool(config.allow_users) and not listed(config.allow_users),
            "DenyGroups": among(config.deny_groups),
            "AllowGroups": bool(config.allow_groups) and not among(config.allow_groups),
            "PermitRootLogin": root == "no"
            or (root == "forced-commands-only" and not config.force_command),
        }
        return [name for name, so in told.items() if so]

    def try_it(self, found: SshdSettings) -> None:
        with Caller(
            self.server.port,
            seconds=60,
            ciphers=CIPHERS.names(),
            macs=MACS.names(),
            key_exchanges=KEY_EXCHANGES.names(),
        ) as caller:
            config = self.effective(found, IDENTIFICATION)
            reasons = self.reasons(config)
            text = (reasons, self.file.read_text())
            caller.ready()
            try:
                inside = isinstance(caller.key(self.server.user, self.key), Authenticated)
            except AssertionError:
                # One failure too many for MaxAuthTries, or RefuseConnection: the server is gone.
                said = str(caller.core.error)
                assert "Too many authentication" in said or "prohibited" in said, text
                inside = False
            assert inside is not bool(reasons), text
            self.ends.update(reasons or ["logged in"])
            if not inside:
                return
            if config.max_sessions == 0:
                caller.refused_session()
                return
            session = caller.session()
            assert session.ask(ExecRequest(b"exit 42")), text
            forced = config.force_command or "exit 42"
            assert session.finish() == [ExitStatus(42 if "42" in forced else 0)], text


@pytest.fixture(scope="module")
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    with TellinServer(tmp_path_factory.mktemp("any"), account=account) as running:
        yield Served(running)


@pytest.mark.parametrize(
    "examples",
    [30, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
    ids=["some", "many"],
)
def test_r115_what_is_accepted_serves_a_connection(served: Served, examples: int) -> None:
    drawn = Drawn()
    rows = [row for row in SshdConfig.rows.values() if row.spelling.lower() not in FIXED]
    counted: Counter[str] = Counter()

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        config_files(rows, served.values(), served.criteria(), drawn, everywhere=False, most=12)
    )
    def examine(text: str) -> None:
        served.write(text)
        found = served.accepted()
        counted["refused" if found is None else "accepted"] += 1
        if found is not None:
            served.take()
            served.try_it(found)

    examine()
    print(
        counted, served.ends, f"{drawn.share_of(rows, served.criteria()):.0%} of both tables drawn"
    )
    assert counted["accepted"] >= examples // 3
    assert served.ends["logged in"] >= examples // 20
    said = served.server.log()
    assert "internal error" not in said
    assert "Traceback" not in said
    assert "died of" not in said


def test_r115_the_program_s_own_test_agrees(served: Served, tmp_path: Path) -> None:
    """What these tests take for the verdict of `sshd -t` is its verdict."""
    for text in ("", "Ciphers nonsense", "Match User x\nAuthorizedKeysFile %q", "MaxSessions 0"):
        served.write(text)
        copy = tmp_path / "sshd_config"
        copy.write_bytes(served.file.read_bytes())
        done = tellin("sshd", "-t", "-f", copy)
        assert (done.returncode == 0) is (served.accepted() is not None), text
