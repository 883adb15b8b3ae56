# SPDX-License-Identifier: MIT
"""Where host keys are looked up besides files: a program (KnownHostsCommand), and the DNS (RFC 4255).

Loaded only where the configuration names one of them.
"""

import hmac
from binascii import b2a_base64
from collections.abc import Callable
from enum import Enum
from typing import Final

from tellin.client.hosts.records import HostPlace, Records
from tellin.config.grammar import split_words
from tellin.config.known_hosts import KnownHosts
from tellin.config.ssh_config import KNOWN_HOSTS_TOKENS, SshConfig, client_tokens
from tellin.config.surroundings import Surroundings
from tellin.config.tokens import expand
from tellin.errors import ConfigError, HostKeyRejected, TellinError
from tellin.keys.fingerprints import SSHFP_ALGORITHMS, SSHFP_HASHES, digest
from tellin.keys.public import PublicKey
from tellin.runtime.capture import output_of
from tellin.runtime.files import LONGEST_FILE, as_text
from tellin.runtime.journal import Journal
from tellin.runtime.sshfp import SshfpAnswer, look_up
from tellin.wire import Record

# A program that does not end would keep every login waiting.
COMMAND_SECONDS: Final = 60.0

_HASHES: Final = {number: name for name, number in SSHFP_HASHES.items()}


class Verdict(Enum):
    """What the DNS says of a key."""

    SILENT = "nobody was asked, or there is no record"
    DIFFERS = "there are records, and none of them is right or one is wrong"
    MATCHES = "the key is in the DNS"
    PROVEN = "the key is in the DNS, and what is there has been verified"


class Found(Record):
    """What was found about a key: lines of known_hosts, and the DNS's word."""

    lines: str = ""
    address_lines: str = ""
    verdict: Verdict = Verdict.SILENT
    asked_dns: bool = False


class HostKeySources:
    """The sources of one connection; everything here may wait, so it is not called on a loop."""

    def __init__(
        self,
        config: SshConfig,
        surroundings: Surroundings,
        journal: Journal,
        *,
        ask_dns: Callable[[str], SshfpAnswer] = look_up,
    ) -> None:
        self._config = config
        self._surroundings = surroundings
        self._journal = journal
        self._ask_dns = ask_dns

    def known(self, records: Records, place: HostPlace) -> KnownHosts:
        """What is on record before the host has shown a key: keys of those types are asked for first."""
        # As OpenSSH: the host as it is, without a port.
        lines = self._run("ORDER", place.host, None)
        return (
            records.read().joined(lines, file="KnownHostsCommand-ORDER")
            if lines
            else records.read()
        )

    def find(self, place: HostPlace, key: PublicKey) -> Found:
        """All that is to be known about a key that a host shows."""
        asked = self._config.verify_host_key_dns != "no"
        found = Found(verdict=self._verdict(key), asked_dns=asked)
        if self._config.known_hosts_command is not None:
            found.lines = self._run("HOSTNAME", place.name, key)
            known = KnownHosts.parse(found.lines).find(place.name)
            for name in () if known else place.portless:
                found.lines += self._run("HOSTNAME", name, key)
            if len(place.names) > 1:
                found.address_lines = self._run("ADDRESS", place.address_name, key)
        return found

    # The program

    def _run(self, reason: str, name: str, key: PublicKey | None) -> str:
        command = self._config.known_hosts_command
        if command is None:
            return ""
        tag = f"KnownHostsCommand-{reason}"
        try:
            words = split_words(command)
            if not words or not words[0].startswith("/"):
                raise ConfigError(f"{tag} path is not absolute")
            argv = [words[0], *(self._expanded(word, reason, name, key) for word in words[1:])]
            self._journal.debug2(f"{tag}: {' '.join(argv)}")
            text = as_text(output_of(argv, limit=LONGEST_FILE, seconds=COMMAND_SECONDS))
        except TellinError as error:
            # A program that fails may be the one that knows of a revoked key.
            raise HostKeyRejected(
                f"KnownHostsCommand failed: {error}", hint="run it by hand to see what is wrong"
            ) from error
        return text if not text or text.endswith("\n") else f"{text}\n"

    def _expanded(self, word: str, reason: str, name: str, key: PublicKey | None) -> str:
        tokens = dict(client_tokens(self._config, self._surroundings))
        hash_name = self._config.fingerprint_hash
        tokens |= {
            "H": lambda: name,
            "I": lambda: reason,
            "f": lambda: "NONE" if key is None else key.fingerprint(hash_name),
            "K": lambda: "NONE" if key is None else _base64(key.blob),
            "t": lambda: "NONE" if key is None else key.key_type,
        }
        return expand(
            word,
            tokens,
            allowed=KNOWN_HOSTS_TOKENS,
            environment=self._surroundings.environment,
        )

    # The DNS

    def _verdict(self, key: PublicKey) -> Verdict:
        config, journal = self._config, self._journal
        if config.verify_host_key_dns == "no":
            return Verdict.SILENT
        if _is_address(config.host):
            journal.debug("skipped DNS lookup for numerical hostname")
            return Verdict.SILENT
        answer = self._ask_dns(config.host)
        verdict = judge(answer, key)
        secure = "secure" if answer.secure else "insecure"
        journal.debug(f"found {len(answer.records)} {secure} fingerprints in DNS")
        journal.debug(
            {
                Verdict.SILENT: "no host key fingerprint found in DNS",
                Verdict.DIFFERS: "mismatching host key fingerprint found in DNS",
            }.get(verdict, "matching host key fingerprint found in DNS")
        )
        return verdict


def judge(answer: SshfpAnswer, key: PublicKey) -> Verdict:
    """What records say of a key: one of its own kind that is wrong outweighs all that are right."""
    if not answer.records:
        return Verdict.SILENT
    matches = False
    for record in answer.records:
        hash_name = _HASHES.get(record.hash_type)
        if hash_name is None or record.algorithm != SSHFP_ALGORITHMS.get(key.kind):
            continue
        ours = digest(key.blob, hash_name)
        if len(ours) != len(record.fingerprint):
            continue
        if not hmac.compare_digest(ours, record.fingerprint):
            return Verdict.DIFFERS
        matches = True
    if not matches:
        return Verdict.DIFFERS
    return Verdict.PROVEN if answer.secure else Verdict.MATCHES


def _base64(blob: bytes) -> str:
    return b2a_base64(blob, newline=False).decode("ascii")


def _is_address(host: str) -> bool:
    from ipaddress import ip_address  # noqa: PLC0415  (start-up time)

    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
