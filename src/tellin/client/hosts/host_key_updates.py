# SPDX-License-Identifier: MIT
"""Learns a server's other host keys while its present one is still trusted (UpdateHostKeys).

Nothing is believed that the server has not signed for, in this session; and nothing is changed but
the plain records of this one host. Loaded when a server tells of its keys.
"""

import os
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from tellin.algorithms.signatures import SIGNATURES, plain
from tellin.client.hosts.host_keys import Beside, at_once
from tellin.client.hosts.records import HostPlace
from tellin.client.offer import algorithms
from tellin.config.host_key_updates import HostRecord, survey, updated
from tellin.config.known_hosts import Entry, KnownHosts
from tellin.config.ssh_config import SshConfig
from tellin.connection.host_keys import HOST_KEYS_PROVE, HostKeyProofs, HostKeys, claim
from tellin.errors import KeyFileError, MalformedPacket, TellinError
from tellin.keys.public import PublicKey
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import GlobalReplied, GlobalRequested
from tellin.runtime.files import read_text, update_text
from tellin.runtime.journal import INFO, VERBOSE, Journal
from tellin.wire import Cursor

_SALT_BYTES: Final = 20
_PREAMBLE: Final = (
    "The server has updated its host keys.",
    "These changes were verified by the server's existing trusted key.",
)


class Basis(Protocol):
    """What the host key is trusted for: `tellin.client.hosts.host_keys.HostKeyCheck`."""

    grounds: Entry | None
    confirmed: bool


def updates(
    core: ClientProtocol,
    config: SshConfig,
    *,
    place: HostPlace,
    files: Sequence[str],
    basis: Basis,
    journal: Journal,
    flush: Callable[[], object],
    ask: Callable[[], bool] | None = None,
    beside: Beside = at_once,
) -> "HostKeyUpdates | None":
    """What takes the server's word; None where nothing may be learnt from it.

    ``files`` are the user's own, the only ones that are changed; the rest is as for HostKeyUpdates.
    """
    fault = _fault(place, files, basis)
    if fault:
        journal.debug(fault)
        return None
    return HostKeyUpdates(
        core,
        files,
        place.names,
        key_types={SIGNATURES[plain(name)].key_type for name in algorithms(config).host_keys},
        journal=journal,
        flush=flush,
        ask=ask,
        hash_names=config.hash_known_hosts,
        fingerprint_hash=config.fingerprint_hash,
        beside=beside,
    )


def _fault(place: HostPlace, files: Sequence[str], basis: Basis) -> str:
    """Why a key that is not known may not stand on the present one's shoulders, or an empty text."""
    line = basis.grounds
    if not files:
        return "UpdateHostkeys is disabled because no file takes new host keys."
    if line is None and not basis.confirmed:
        return "UpdateHostkeys is disabled because the host key is not trusted."
    if line is None:
        return ""
    # Everybody's file, or what a program said: who keeps those says what is in them.
    if line.file not in files:
        return f"host key found in {line.file}; disabling UpdateHostkeys"
    # One that matches without the port may be another server's of the same machine; and who
    # trusts an authority does not keep a list of keys.
    if line.marker.value or not line.is_for(place.name):
        return "UpdateHostkeys is disabled because the host is not on record by this name."
    return ""


class HostKeyUpdates:
    """One connection's update of the user's ``files``, of which the first takes what is new.

    ``names`` are those that the host is recorded under. ``ask`` is asked before anything is written,
    where that is wanted. ``key_types`` are the types that HostKeyAlgorithms allows.
    """

    def __init__(
        self,
        core: ClientProtocol,
        files: Sequence[str],
        names: Sequence[str],
        *,
        key_types: Collection[str],
        journal: Journal,
        flush: Callable[[], object],
        ask: Callable[[], bool] | None = None,
        hash_names: bool = False,
        fingerprint_hash: str = "sha256",
        beside: Beside = at_once,
    ) -> None:
        self._core = core
        self._files = tuple(files)
        self._names = tuple(names)
        self._key_types = frozenset(key_types)
        self._journal = journal
        self._flush = flush
        self._ask = ask
        self._hash_names = hash_names
        self._fingerprint_hash = fingerprint_hash
        self._beside = beside
        self._told = False
        self._keys: dict[bytes, PublicKey] = {}
        self._record = HostRecord({}, (), "")

    # What the server has

    def told(self, event: GlobalRequested) -> None:
        """The server lists its keys."""
        if self._told:
            self._journal.debug("the server lists its host keys again; that is passed over")
            return
        self._told = True
        try:
            blobs = HostKeys.decode(event.data).blobs
        except MalformedPacket as error:
            self._journal.error(f"client_input_hostkeys: {error}")
            return
        if len(set(blobs)) != len(blobs):
            self._journal.error("client_input_hostkeys: received duplicated host key")
            return
        for blob in blobs:
            self._consider(blob)
        if not self._keys:
            self._journal.debug("client_input_hostkeys: server sent no hostkeys")
            return
        self._beside(self._read, self._weigh)

    def _consider(self, blob: bytes) -> None:
        try:
            key = PublicKey.from_blob(blob)
        except KeyFileError as error:
            # Of a kind that is not known here, or a certificate, which is no key by itself.
            self._journal.debug(f"client_input_hostkeys: {error}")
            return
        if key.key_type in self._key_types:
            self._keys[blob] = key
        else:
            self._journal.debug3(f"{key.key_type} key not permitted by HostkeyAlgorithms")

    def _read(self) -> HostRecord:
        known = KnownHosts()
        for path in self._files:
            try:
                known.add(read_text(path), file=path)
            except (OSError, TellinError) as error:
                # A second file is rarely there; what cannot be read is not changed either.
                self._journal.debug(f"client_input_hostkeys: {path}: {error}")
        return survey(known, self._names, tuple(self._keys))

    def _weigh(self, record: HostRecord) -> None:
        self._record = record
        new = record.new(tuple(self._keys))
        journal = self._journal
        journal.debug3(
            f"client_input_hostkeys: {len(self._keys)} server keys: {len(new)} new,"
            f" {len(record.old)} to remove"
        )
        if self._core.closed:
            return
        if not new and not record.old:
            journal.debug("client_input_hostkeys: no new or deprecated keys from server")
        elif record.obstacle:
            journal.debug(
                f"client_input_hostkeys: {record.obstacle}; skipping UserKnownHostsFile update"
            )
        elif not new:
            self._settle([])
        else:
            journal.debug3(f"asking server to prove ownership for {len(new)} keys")
            self._core.request(HOST_KEYS_PROVE, HostKeys(new).encode(), token=self.proved)
            self._flush()

    # What it proves

    def proved(self, event: GlobalReplied) -> None:
        """The server's answer to our request."""
        new = self._record.new(tuple(self._keys))
        if not event.success:
            self._journal.error("Server failed to confirm ownership of private host keys")
            return
        try:
            signatures = HostKeyProofs.decode(event.data).signatures
        except MalformedPacket as error:
            self._journal.error(f"client_global_hostkeys_prove_confirm: {error}")
            return
        if len(signatures) != len(new):
            self._journal.error(
                f"client_global_hostkeys_prove_confirm: {len(signatures)} signatures where"
                f" {len(new)} were asked for"
            )
            return
        learned = []
        for blob, signature in zip(new, signatures, strict=True):
            key = self._keys[blob]
            algorithm = self._algorithm(key, signature)
            if not algorithm:
                self._journal.debug(
                    "server used untrusted RSA signature algorithm, disregarding that key"
                )
            elif key.verify(claim(self._core.session_id, blob), signature, algorithm=algorithm):
                learned.append(key)
            else:
                # One that is wrong casts doubt on all: a server does not forge by mistake.
                self._journal.error(f"server gave bad signature for {key.kind} key")
                return
        self._settle(learned)

    def _algorithm(self, key: PublicKey, signature: bytes) -> str:
        """What a signature must be made by: for RSA as in the exchange, or by SHA-2 (R077)."""
        able = key.signature_algorithms
        chosen = self._core.algorithms
        agreed = "" if chosen is None else plain(chosen.host_key)
        if agreed in able:
            return agreed
        if len(able) == 1:
            return able[0]
        try:
            named = Cursor(signature).text()
        except MalformedPacket:
            return able[0]
        return named if named in able else ""

    # What is written

    def _settle(self, learned: Sequence[PublicKey]) -> None:
        level = INFO if self._ask is not None else VERBOSE
        said = [*_PREAMBLE] if self._ask is not None else []
        said += [f"Learned new hostkey: {self._shown(key)}" for key in learned]
        for entry in self._record.old:
            try:
                said.append(
                    f"Deprecating obsolete hostkey: {self._shown(PublicKey.from_blob(entry.blob))}"
                )
            except KeyFileError:
                said.append(f"Deprecating obsolete hostkey: {entry.key_type}")
        if not learned and not self._record.old:
            return
        for line in said:
            self._journal.say(level, line)
        if self._ask is None or self._ask():
            keep = [*self._record.known, *(key.blob for key in learned)]
            self._beside(lambda: self._write(keep), lambda fault: self._written(fault))

    def _shown(self, key: PublicKey) -> str:
        return f"{key.kind} {key.fingerprint(self._fingerprint_hash)}"

    def _write(self, keep: Sequence[bytes]) -> str:
        """Bring the files up to date, each in one step; what went wrong, or an empty text."""
        salt = (lambda: os.urandom(_SALT_BYTES)) if self._hash_names else None
        for place, path in enumerate(self._files):
            # Only the first is added to; in the others the host's lines are only taken out.
            learn = () if place else keep

            def change(text: str, learn: Sequence[bytes] = learn) -> str:
                # What is missing is found out here, under the lock: another process may have
                # learnt the same a moment ago.
                return updated(text, self._names, keep, learn, salt=salt)

            try:
                if os.path.exists(path):  # noqa: PTH110 (start-up)
                    update_text(path, change)
            except (OSError, TellinError) as error:
                return f"{path}: {error}"
        return ""

    def _written(self, fault: str) -> None:
        if fault:
            self._journal.error(f"the known host keys could not be updated: {fault}")
