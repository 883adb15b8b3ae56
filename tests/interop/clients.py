# SPDX-License-Identifier: MIT
"""The peers' clients: one ``run`` each, with the same arguments, whatever their command lines are."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.interop.children import python
from tests.interop.offers import Offer, offer_of_client
from tests.interop.servers import find, run
from tests.interop.target import Algorithms, Completed, KeyFile, Target

HERE = Path(__file__).parent
ANY = Algorithms()


class Client:
    """A client in a folder of its own, which is its home too."""

    name = ""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / f"{self.name}-client"
        self.directory.mkdir(exist_ok=True)

    def argv(
        self,
        target: Target,
        command: str,
        *,
        algorithms: Algorithms = ANY,
        method: str = "publickey",
        pty: bool = False,
        subsystem: bool = False,
        options: Mapping[str, object] | None = None,
    ) -> Sequence[str | Path]:
        """The command line; ``method`` is publickey, password or keyboard-interactive."""
        raise NotImplementedError

    def environment(self, target: Target) -> dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("SSH_")},
            "HOME": str(self.directory),
        }

    def run(
        self,
        target: Target,
        command: str,
        *,
        input: bytes = b"",  # noqa: A002  # the name that subprocess.run uses
        seconds: float = 60,
        algorithms: Algorithms = ANY,
        method: str = "publickey",
        pty: bool = False,
        subsystem: bool = False,
        options: Mapping[str, object] | None = None,
    ) -> Completed:
        """Log in, run ``command`` (a subsystem's name with ``subsystem``), and say how it ended."""
        argv = self.argv(
            target,
            command,
            algorithms=algorithms,
            method=method,
            pty=pty,
            subsystem=subsystem,
            options=options,
        )
        done = subprocess.run(
            [str(word) for word in argv],
            input=input,
            capture_output=True,
            env=self.environment(target),
            timeout=seconds,
            check=False,
            start_new_session=True,  # no terminal to ask at
        )
        facts = self.facts()
        signal = facts.get("signal")
        return Completed(
            done.returncode,
            done.stdout,
            done.stderr,
            signal if isinstance(signal, str) else None,
            facts,
        )

    def facts(self) -> dict[str, object]:
        return {}

    def supported(self) -> dict[str, tuple[str, ...]] | None:
        """All it can do, off by default or not; None where the program cannot be asked."""
        return None

    def offer(self, identity: KeyFile, *, options: Mapping[str, object] | None = None) -> Offer:
        """What it offers, by default or with ``options``."""
        started: list[subprocess.Popen[bytes]] = []

        def start(host: str, port: int) -> None:
            target = Target(port, "nobody", (identity.public,), identity, "none", host)
            started.append(
                subprocess.Popen(
                    [str(word) for word in self.argv(target, "true", options=options)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=self.environment(target),
                    start_new_session=True,
                )
            )

        try:
            return offer_of_client(start)
        finally:
            for process in started:
                process.kill()
                process.wait()


class OpenSSHClient(Client):
    """OpenSSH's ssh; ``options`` are keywords for -o, a list for a repeated one."""

    name = "ssh"
    program = "ssh"

    def argv(
        self,
        target: Target,
        command: str,
        *,
        algorithms: Algorithms = ANY,
        method: str = "publickey",
        pty: bool = False,
        subsystem: bool = False,
        options: Mapping[str, object] | None = None,
    ) -> Sequence[str | Path]:
        known_hosts = self.directory / f"known_hosts_{target.port}"
        known_hosts.write_text(target.known_hosts(), "ascii")
        settings: dict[str, object] = {
            "UserKnownHostsFile": str(known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "IdentityFile": str(target.identity.path) if target.identity else "none",
            "BatchMode": "yes" if method == "publickey" else "no",
            "NumberOfPasswordPrompts": "1",
            "PreferredAuthentications": method,
            "LogLevel": "ERROR",
            "ConnectTimeout": "45",
        }
        chosen = {
            "KexAlgorithms": algorithms.kex,
            "HostKeyAlgorithms": algorithms.host_key,
            "Ciphers": algorithms.cipher,
            "MACs": algorithms.mac,
        }
        settings |= {keyword: name for keyword, name in chosen.items() if name}
        if algorithms.compression:
            settings["Compression"] = "no" if algorithms.compression == "none" else "yes"
        words: list[str | Path] = [find(self.program), "-F", "none"]
        for keyword, values in (settings | dict(options or {})).items():
            for value in values if isinstance(values, list) else [values]:
                words += ["-o", f"{keyword}={value}"]
        words += ["-tt" if pty else "-T", "-p", str(target.port), "-l", target.user]
        if subsystem:
            words.append("-s")
        return [*words, target.host, command]

    def environment(self, target: Target) -> dict[str, str]:
        ask = self.directory / "askpass"
        ask.write_text(f"#!/bin/sh\necho '{target.password}'\n", "utf-8")
        ask.chmod(0o700)
        return {
            **super().environment(target),
            "SSH_ASKPASS": str(ask),
            "SSH_ASKPASS_REQUIRE": "force",
        }

    def supported(self) -> dict[str, tuple[str, ...]]:
        names = {"kex": "kex", "cipher": "cipher", "mac": "mac", "host_key": "HostKeyAlgorithms"}
        return {
            kind: tuple(run(self.program, "-Q", query).decode().split())
            for kind, query in names.items()
        }


class DropbearClient(Client):
    """Dropbear's dbclient; it can be told a cipher and a MAC, the rest it chooses."""

    name = "dbclient"

    def argv(
        self,
        target: Target,
        command: str,
        *,
        algorithms: Algorithms = ANY,
        method: str = "publickey",
        pty: bool = False,
        subsystem: bool = False,
        options: Mapping[str, object] | None = None,
    ) -> Sequence[str | Path]:
        folder = self.directory / ".ssh"
        folder.mkdir(exist_ok=True)
        # Its records have no port in them.
        lines = [f"{target.host} {' '.join(line.split()[:2])}\n" for line in target.host_keys]
        (folder / "known_hosts").write_text("".join(lines), "ascii")
        words: list[str | Path] = [find("dbclient"), "-p", str(target.port), "-l", target.user]
        words.append("-t" if pty else "-T")
        if subsystem:
            words.append("-s")
        if method == "publickey" and target.identity:
            own = self.directory / f"id_{target.port}"
            run("dropbearconvert", "openssh", "dropbear", target.identity.path, own)
            words += ["-i", own]
        if algorithms.cipher:
            words += ["-c", algorithms.cipher]
        if algorithms.mac:
            words += ["-m", algorithms.mac]
        for flag, value in (options or {}).items():
            words += [flag, *([str(value)] if value else [])]
        return [*words, target.host, command]

    def run(self, target: Target, command: str, **wanted: Any) -> Completed:
        """As any other; at most three times.

        On a busy machine one run in a hundred, with much on standard input, waits for ever: at OpenSSH's
        server and at Dropbear's own as well. A fault of a server's would be there again.
        """
        seconds = wanted.pop("seconds", 90) / 3
        for _ in range(2):
            try:
                return super().run(target, command, seconds=seconds, **wanted)
            except subprocess.TimeoutExpired:
                continue
        return super().run(target, command, seconds=seconds, **wanted)

    def environment(self, target: Target) -> dict[str, str]:
        secret = {"DROPBEAR_PASSWORD": target.password} if target.password else {}
        return {**super().environment(target), **secret}


class PlinkClient(Client):
    """PuTTY's plink; algorithms by PuTTY's own words for families, in ``options`` as of a saved session."""

    name = "plink"
    # One word of PuTTY's stands for several of the protocol's names.
    CIPHERS = {  # noqa: RUF012  # a constant
        "aes256-gcm@openssh.com": "aesgcm",
        "aes128-gcm@openssh.com": "aesgcm",
        "chacha20-poly1305@openssh.com": "chacha20",
        "aes256-ctr": "aes",
        "aes192-ctr": "aes",
        "aes128-ctr": "aes",
    }
    EXCHANGES = {  # noqa: RUF012  # a constant
        "sntrup761x25519-sha512": "ntru-curve25519",
        "sntrup761x25519-sha512@openssh.com": "ntru-curve25519",
        "curve25519-sha256": "ecdh",
        "curve25519-sha256@libssh.org": "ecdh",
        "ecdh-sha2-nistp256": "ecdh",
        "diffie-hellman-group14-sha256": "dh-group14-sha1",
        "diffie-hellman-group16-sha512": "dh-group16",
        "diffie-hellman-group18-sha512": "dh-group18",
        "diffie-hellman-group-exchange-sha256": "dh-gex-sha1",
    }

    def argv(
        self,
        target: Target,
        command: str,
        *,
        algorithms: Algorithms = ANY,
        method: str = "publickey",
        pty: bool = False,
        subsystem: bool = False,
        options: Mapping[str, object] | None = None,
    ) -> Sequence[str | Path]:
        session: dict[str, object] = {"Protocol": "ssh"}
        if algorithms.cipher:
            session["Cipher"] = f"{self.CIPHERS[algorithms.cipher]},WARN"
        if algorithms.kex:
            session["KEX"] = f"{self.EXCHANGES[algorithms.kex]},WARN"
        if algorithms.compression:
            session["Compression"] = "0" if algorithms.compression == "none" else "1"
        session |= dict(options or {})
        folder = self.directory / ".putty" / "sessions"
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{key}={value}\n" for key, value in session.items())
        (folder / "peer").write_text(lines, "utf-8")
        words: list[str | Path] = [find("plink"), "-load", "peer", "-ssh", "-batch", "-noagent"]
        words += ["-P", str(target.port), "-l", target.user]
        for line in target.host_keys:
            words += ["-hostkey", line.split()[1]]
        if method == "publickey" and target.identity:
            own = self.directory / f"id_{target.port}.ppk"
            run("puttygen", target.identity.path, "-O", "private", "-o", own)
            words += ["-i", own]
        elif target.password:
            words += ["-pw", target.password]
        words.append("-t" if pty else "-T")
        if subsystem:
            words.append("-s")
        return [*words, target.host, command]


class ScriptClient(Client):
    """A library's client, from a script beside this file that is told all in JSON.

    ``options`` are told too: ``{"env": {"NAME": "value"}}``.
    """

    def program(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def argv(
        self,
        target: Target,
        command: str,
        *,
        algorithms: Algorithms = ANY,
        method: str = "publickey",
        pty: bool = False,
        subsystem: bool = False,
        options: Mapping[str, object] | None = None,
    ) -> Sequence[str | Path]:
        told = {
            **(options or {}),
            "host": target.host,
            "port": target.port,
            "user": target.user,
            "known_hosts": target.known_hosts(),
            "identity": str(target.identity.path) if target.identity else None,
            "password": target.password,
            "methods": method,
            "command": command,
            "pty": pty,
            "subsystem": subsystem,
            "algorithms": asdict(algorithms),
            "facts": str(self.directory / "facts.json"),
        }
        (self.directory / "facts.json").unlink(missing_ok=True)
        return [*self.program(), json.dumps(told)]

    def facts(self) -> dict[str, object]:
        path = self.directory / "facts.json"
        known: dict[str, object] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        return known


class AsyncSSHClient(ScriptClient):
    """AsyncSSH; ``facts`` has send_cipher, send_mac and so on."""

    name = "asyncssh"

    def program(self) -> Sequence[str | Path]:
        return [python(), HERE / "asyncssh_client.py"]


class ParamikoClient(ScriptClient):
    """Paramiko; ``facts`` has send_cipher and so on."""

    name = "paramiko"

    def program(self) -> Sequence[str | Path]:
        return [python(), HERE / "paramiko_client.py"]


class Ssh2Client(ScriptClient):
    """npm's ssh2 on Node; ``facts["negotiated"]`` has what was chosen."""

    name = "ssh2"

    def program(self) -> Sequence[str | Path]:
        return [find("node"), HERE / "ssh2_client.js"]

    def environment(self, target: Target) -> dict[str, str]:
        modules = HERE.parents[1] / "build" / "peers" / "node_modules"
        return {**super().environment(target), "NODE_PATH": str(modules)}
