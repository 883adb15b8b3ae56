# SPDX-License-Identifier: MIT
"""Whether the server is the one it should be, by the records of host keys, and what to do without one.

Nothing secret leaves before this is settled, and whatever is not a plain yes is a no (R014, R016).
"""

import os
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final, Protocol

from tellin.algorithms.signatures import CA_SIGNATURE_ALGORITHMS, plain
from tellin.client.hosts.records import HostPlace, Records
from tellin.client.questions import HostKeyQuestion, Prompter
from tellin.config.known_hosts import (
    Entry,
    HostKeyState,
    KnownHosts,
    Lookup,
    hash_name,
    host_name,
    make_line,
)
from tellin.errors import (
    HostKeyChanged,
    HostKeyRejected,
    HostKeyRevoked,
    HostKeyUnknown,
    TellinError,
)
from tellin.keys.public import PublicKey
from tellin.keys.shown import Shown
from tellin.protocol.client import ClientProtocol
from tellin.protocol.events import HostKeyOffered
from tellin.runtime.journal import Journal

_BOX: Final = "@" * 59
_SALT_BYTES: Final = 20


class Revocations(Protocol):
    """Knows which keys are revoked: a `tellin.keys.RevocationList`, for one."""

    def revokes(self, key: Any) -> bool:
        """Whether a key is revoked; of a certificate, itself, its key or its authority (R104)."""


class HostKeyPolicy(Enum):
    """What to do about a host key; the values are those of StrictHostKeyChecking."""

    STRICT = "yes"
    """Only keys on record."""
    ACCEPT_NEW = "accept-new"
    """A host without record is recorded; a changed key is refused."""
    ASK = "ask"
    """Somebody is asked about a host without record; a changed key is refused."""
    OFF = "no"
    """Everything but a revoked key; with a changed one no password is given away."""


class Found(Protocol):
    """What was found about a key besides files: `tellin.client.hosts.host_key_sources.Found`."""

    lines: str
    address_lines: str
    asked_dns: bool

    @property
    def verdict(self) -> Enum:
        """What the DNS says: a `tellin.client.hosts.host_key_sources.Verdict`."""


class Sources(Protocol):
    """Who else knows host keys: `tellin.client.hosts.host_key_sources.HostKeySources`."""

    def known(self, records: Records, place: HostPlace) -> KnownHosts:
        """What is on record, and what they know of a host that has not shown its key."""

    def find(self, place: HostPlace, key: PublicKey) -> Found:
        """Ask them; it may take long."""


Beside = Callable[[Callable[[], Any], Callable[[Any], object]], object]
"""Does work that may take long, and hands on what comes of it."""


def at_once(work: Callable[[], Any], then: Callable[[Any], object]) -> None:
    """For those who have nothing else to do meanwhile."""
    then(work())


class HostKeyCheck:
    """Answers HostKeyOffered for one connection.

    ``on_unsafe`` is called when a changed key was let in (policy OFF): what a false server could
    make use of, passwords above all, must be kept from it then. It names what that is.
    """

    def __init__(
        self,
        core: ClientProtocol,
        place: HostPlace,
        *,
        policy: HostKeyPolicy | None,
        records: Records,
        prompter: Prompter,
        journal: Journal,
        hash_names: bool = False,
        fingerprint_hash: str = "sha256",
        required_rsa_size: int = 0,
        authority_algorithms: Sequence[str] = CA_SIGNATURE_ALGORITHMS,
        revocations: Callable[[], Sequence[tuple[str, Revocations]]] | None = None,
        clock: Callable[[], float] = time.time,
        sources: Sources | None = None,
        trust_dns: bool = False,
        no_local_check: bool = False,
        beside: Beside = at_once,
        on_unsafe: Callable[[], Sequence[str]] | None = None,
        on_trusted: Callable[[PublicKey], object] | None = None,
    ) -> None:
        self._core = core
        self._place = place
        self._policy = policy
        self._records = records
        self._prompter = prompter
        self._journal = journal
        self._hash_names = hash_names
        self._fingerprint_hash = fingerprint_hash
        self._required_rsa_size = required_rsa_size
        self._authority_algorithms = authority_algorithms
        self._revocations = revocations
        self._clock = clock
        self._sources = sources
        self._found: Found | None = None
        self._here: Lookup | None = None  # what is on record for the address, where that counts
        self._trust_dns = trust_dns
        self._no_local_check = no_local_check
        self._beside = beside
        self._on_unsafe = on_unsafe
        self.unsafe = False
        """Whether a changed key was let in."""
        self._on_trusted = on_trusted
        self._key: PublicKey | None = None
        self.grounds: Entry | None = None
        """The line that the trust in the key stands on, once it is trusted for one."""
        self.confirmed = False
        """Whether somebody has said yes to the key."""

    def handle(self, event: HostKeyOffered) -> None:
        """Settle it now, or later when somebody has been asked; a fault on the way is a no."""
        if self._sources is None:
            self._settle(lambda: self._judge(event))
        else:
            self._beside(
                lambda: self._gather(event),
                lambda fault: self._settle(lambda: self._go_on(event, fault)),
            )

    def _gather(self, event: HostKeyOffered) -> Exception | None:
        """Ask those who may take long; called where that holds nobody up."""
        assert self._sources is not None
        try:
            self._found = self._sources.find(self._place, _key_of(event))
        except Exception as error:  # noqa: BLE001 - raised again where it can be answered
            return error
        return None

    def _go_on(self, event: HostKeyOffered, fault: Exception | None) -> None:
        if self._core.closed:
            return
        if fault is not None:
            raise fault
        self._judge(event)

    def _settle(self, judge: Callable[[], object]) -> None:
        try:
            judge()
        except HostKeyRejected as error:
            self._reject(error)
        except (TellinError, OSError) as error:
            # CVE-2025-26465: an error in the check must never come out as a yes.
            self._core.reject_host_key(
                HostKeyRejected(f"the host key could not be checked: {error}")
            )
        except BaseException:
            self._core.reject_host_key(HostKeyRejected("the host key could not be checked"))
            raise

    def _reject(self, error: HostKeyRejected) -> None:
        if self._key is not None:
            error.fingerprint = self._key.fingerprint()
        self._core.reject_host_key(error)

    def _judge(self, event: HostKeyOffered) -> None:
        if plain(event.algorithm) != event.algorithm:
            self._judge_certificate(event.key_blob)
            return
        key = self._key = PublicKey.from_blob(event.key_blob)
        if self._journal.debugs:
            self._journal.debug(f"Server host key: {key.key_type} {self._fingerprint(key)}")
        self._check_first(key, key)
        if not self._is_exempt():
            self._judge_key(key)

    def _judge_certificate(self, blob: bytes) -> None:
        # Few servers have certificates.
        from tellin.client.hosts.host_certificates import describe, vouching  # noqa: PLC0415
        from tellin.keys.certificates import Certificate  # noqa: PLC0415

        certificate = Certificate.from_blob(blob)
        key = self._key = certificate.key
        if self._journal.debugs:
            describe(certificate, self._journal)
        self._check_first(key, certificate)
        if self._is_exempt():
            return
        found = self._look_up(key, authority=certificate.authority.blob)
        if found.state is HostKeyState.REVOKED:
            # R104: the authority, or the key inside.
            self._revoked(certificate)
        entry = vouching(
            certificate,
            self._place,
            found,
            now=self._clock(),
            algorithms=self._authority_algorithms,
            journal=self._journal,
        )
        if entry is None:
            # R106: what nobody vouches for is as good as the key in it, and no better.
            self._judge_key(key)
        else:
            self._known(certificate, entry, "host certificate", "CA key")
            self._trust()

    def _check_first(self, key: PublicKey, shown: Shown) -> None:
        """What no record can make good."""
        if self._policy is None:
            raise HostKeyUnknown(
                "no host key policy was given",
                hint="say which host keys to trust: known hosts, accept-new, a callback, or off",
            )
        if key.kind == "RSA" and key.bits < self._required_rsa_size:
            raise HostKeyRejected(
                f"the host key is of {key.bits} bits, where {self._required_rsa_size} are required"
            )
        for name, revoked in self._revocations() if self._revocations is not None else ():
            if revoked.revokes(shown):
                raise HostKeyRevoked(
                    f"Host key {shown.kind} {shown.fingerprint()} revoked by file {name}"
                )

    def _is_exempt(self) -> bool:
        """NoHostAuthenticationForLocalhost: whether this is our own machine, whichever that is here."""
        if not (self._no_local_check and self._place.is_local and not self._place.alias):
            return False
        self._journal.debug("Forcing accepting of host key for loopback/localhost.")
        self._trust()
        return True

    def _judge_key(self, key: PublicKey) -> None:
        found = self._look_up(key)
        if self._dns_settles(key, found):
            return
        if found.state is HostKeyState.REVOKED:
            self._revoked(key)
        elif found.state is HostKeyState.MATCHES:
            self._matches(key, found)
        elif found.state is HostKeyState.CHANGED:
            self._changed(key, found)
        else:
            self._unknown(key, found)

    def _look_up(self, key: PublicKey, *, authority: bytes | None = None) -> Lookup:
        place = self._place
        records = here_records = self._records.read()
        if self._found is not None and self._found.lines:
            records = records.joined(self._found.lines, file="KnownHostsCommand-HOSTNAME")
        if self._found is not None and self._found.address_lines:
            here_records = here_records.joined(
                self._found.address_lines, file="KnownHostsCommand-ADDRESS"
            )
        found = records.lookup(
            (place.name,), key.blob, authority=authority, match_only=place.portless
        )
        for warning in records.warnings:
            self._journal.verbose(warning)
        self._here = None
        if len(place.names) > 1 and found.state is not HostKeyState.REVOKED:
            here = here_records.lookup((place.address_name,), key.blob, authority=authority)
            if here.state is HostKeyState.REVOKED:
                return here
            # A certificate speaks for the name; what else is on record is looked at without one.
            if authority is None:
                self._here = here
        return found

    def _dns_settles(self, key: PublicKey, found: Lookup) -> bool:
        """Whether the DNS says enough; what is revoked here stays revoked whatever it says."""
        if self._found is None or found.state is HostKeyState.REVOKED:
            return False
        verdict = self._found.verdict.name
        if verdict == "PROVEN" and self._trust_dns:
            self._trust()
            return True
        if verdict == "DIFFERS":
            self._warn_of_change(key)
            self._journal.error(
                "Update the SSHFP RR in DNS with the new host key to get rid of this message."
            )
        return False

    # The four answers

    def _matches(self, key: PublicKey, found: Lookup) -> None:
        if found.entry is not None:
            self._known(key, found.entry, "host key", "key")
        self.grounds = found.entry
        by_name = found.entry is not None and found.entry.is_for(self._place.name)
        if self._here is not None and self._here.state is HostKeyState.UNKNOWN:
            if by_name:
                self._add_address(key)
            else:
                self._miss_address(key)
        self._ask_address(key, found.entry if by_name else None)

    def _known(self, shown: Shown, entry: Entry, what: str, found: str) -> None:
        if self._journal.debugs:
            name = self._place.name
            self._journal.debug(f"Host '{name}' is known and matches the {shown.kind} {what}.")
            self._journal.debug(f"Found {found} in {entry.where}")

    def _revoked(self, key: Shown) -> None:
        name = self._place.name
        self._box("@       WARNING: REVOKED HOST KEY DETECTED!               @")
        self._journal.error(f"The {key.kind} host key for {name} is marked as revoked.")
        self._journal.error(
            "This could mean that a stolen key is being used to impersonate this host."
        )
        raise HostKeyRevoked(f"{key.kind} host key for {name} was revoked")

    def _changed(self, key: PublicKey, found: Lookup) -> None:
        journal, place = self._journal, self._place
        entry = found.entry
        assert entry is not None
        self._warn_of_spoofing(key, entry)
        self._warn_of_change(key)
        for line in (
            f"Add correct host key in {self._records.place} to get rid of this message.",
            *self._offending(entry, place.name),
        ):
            journal.error(line)
        if self._policy is not HostKeyPolicy.OFF:
            raise HostKeyChanged(
                f"Host key for {place.name} has changed and you have requested strict checking.",
                hint="ask whoever runs the server for its fingerprint before you remove the record",
            )
        self._go_on_unsafely()

    def _warn_of_change(self, key: PublicKey) -> None:
        self._box("@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @")
        for line in (
            "IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!",
            "Someone could be eavesdropping on you right now (man-in-the-middle attack)!",
            "It is also possible that a host key has just been changed.",
            f"The fingerprint for the {key.kind} key sent by the remote host is",
            f"{self._fingerprint(key)}.",
            "Please contact your system administrator.",
        ):
            self._journal.error(line)

    def _warn_of_spoofing(self, key: PublicKey, entry: Entry) -> None:
        """A name whose key has changed, and whose address has not changed likewise."""
        here, place = self._here, self._place
        if here is None or (here.entry is not None and here.entry.blob == entry.blob):
            return
        self._box("@       WARNING: POSSIBLE DNS SPOOFING DETECTED!          @")
        is_what = {
            HostKeyState.UNKNOWN: "is unknown",
            HostKeyState.MATCHES: "is unchanged",
        }.get(here.state, "has a different value")
        for line in (
            f"The {key.kind} host key for {place.name} has changed,",
            f"and the key for the corresponding IP address {place.address_name}",
            f"{is_what}. This could either mean that",
            "DNS SPOOFING is happening or the IP address for the host",
            "and its host key have changed at the same time.",
        ):
            self._journal.error(line)
        if here.entry is not None:
            self._journal.error(f"Offending key for IP in {here.entry.where}")
            for line in self._remedy(here.entry, place.address_name):
                self._journal.error(line)

    def _ask_address(self, key: PublicKey, known: Entry | None) -> None:
        """The name is settled, ``known`` by a line; now its address, which has the last word."""
        here, place = self._here, self._place
        if here is None or here.state is not HostKeyState.CHANGED:
            self._trust()
            return
        assert here.entry is not None
        question = HostKeyQuestion(
            host=place.name,
            address=place.address_name,
            key=key,
            fingerprint=self._fingerprint(key),
            elsewhere=(),
            conflict=here.entry.where,
            known="" if known is None else known.where,
        )
        if self._policy is HostKeyPolicy.ASK:
            self._prompter.confirm_host_key(question, self._address_confirmed)
            return
        for line in question.warning:
            self._journal.info(line)
        if self._policy is not HostKeyPolicy.OFF:
            raise HostKeyChanged("Exiting, you have requested strict checking.")
        self._trust()

    def _address_confirmed(self, answer: bool) -> None:
        if self._core.closed:
            return
        # R014, as for the name.
        if answer is True:
            self._trust()
        else:
            place = self._place
            self._reject(
                HostKeyChanged(
                    f"The host key for {place.name} differs from the key for the IP address"
                    f" {place.address_name}, and that was not confirmed."
                )
            )

    def _unknown(self, key: PublicKey, found: Lookup) -> None:
        name = self._place.name
        if self._policy is HostKeyPolicy.STRICT:
            raise HostKeyUnknown(
                f"No {key.kind} host key is known for {name}"
                " and you have requested strict checking.",
                hint=f"it shows {key.fingerprint()}; compare that with what whoever runs the server"
                " says, and connect once with StrictHostKeyChecking=ask or accept-new",
            )
        if self._policy is not HostKeyPolicy.ASK:
            self._accept(key)
            return
        question = HostKeyQuestion(
            host=name,
            address=self._place.address_name or name,
            key=key,
            fingerprint=self._fingerprint(key),
            elsewhere=tuple(
                f"{entry.where}: {'[hashed name]' if entry.hashed else entry.names}"
                for entry in found.elsewhere
            ),
            in_dns=_in_dns(self._found),
        )
        self._prompter.confirm_host_key(question, self._confirmed)

    # What follows from them

    def _confirmed(self, answer: bool) -> None:
        if self._core.closed:
            return
        # R014: anything else that a callback may return is a no, however true it looks.
        if answer is True and self._key is not None:
            self.confirmed = True
            self._accept(self._key)
        else:
            kind = self._key.kind if self._key is not None else "such"
            self._reject(
                HostKeyUnknown(
                    f"No {kind} host key is known for {self._place.name},"
                    " and this one was not confirmed."
                )
            )

    def _accept(self, key: PublicKey) -> None:
        place, journal = self._place, self._journal
        # An address that is on record keeps its line, whatever that says.
        new = self._here is not None and self._here.state is HostKeyState.UNKNOWN
        recorded = place.names if new else (place.name,)
        shown = ",".join(recorded)
        try:
            for names in [(name,) for name in recorded] if self._hash_names else [recorded]:
                self._records.add(self._line(names, key))
        except (OSError, TellinError) as error:
            cause = error.strerror if isinstance(error, OSError) else str(error)
            journal.info(
                f"Failed to add the host to the list of known hosts ({self._records.place}):"
                f" {cause}"
            )
        else:
            journal.info(
                f"Warning: Permanently added '{shown}' ({key.kind}) to the list of known hosts."
            )
        self._ask_address(key, None)

    def _miss_address(self, key: PublicKey) -> None:
        """The host is on record without its port, and so its address should be; nothing is added."""
        address = host_name(self._place.address)
        if self._records.read().lookup((address,), key.blob).state is HostKeyState.UNKNOWN:
            self._journal.info(
                f"{key.kind} host key for IP address '{address}' not in list of known hosts."
            )

    def _add_address(self, key: PublicKey) -> None:
        address = self._place.address_name
        what = f"the {key.kind} host key for IP address '{address}' to the list of known hosts"
        try:
            self._records.add(self._line((address,), key))
        except (OSError, TellinError):
            self._journal.info(f"Failed to add {what} ({self._records.place}).")
        else:
            self._journal.info(f"Warning: Permanently added {what}.")

    def _line(self, names: Sequence[str], key: PublicKey) -> str:
        if self._hash_names:
            names = [hash_name(name, salt=os.urandom(_SALT_BYTES)) for name in names]
        return make_line(names, key.key_type, key.blob)

    def _go_on_unsafely(self) -> None:
        self.unsafe = True
        for what in () if self._on_unsafe is None else self._on_unsafe():
            self._journal.error(
                f"{what.capitalize()} authentication is disabled to avoid man-in-the-middle attacks."
            )
        self._trust()

    def _trust(self) -> None:
        if self._on_trusted is not None and self._key is not None:
            self._on_trusted(self._key)
        self._core.trust_host_key()

    # Words

    def _fingerprint(self, key: PublicKey) -> str:
        return key.fingerprint(self._fingerprint_hash)

    def _box(self, title: str) -> None:
        for line in (_BOX, title, _BOX):
            self._journal.error(line)

    def _offending(self, entry: Entry, name: str) -> tuple[str, ...]:
        kind = PublicKey.from_blob(entry.blob).kind
        return (f"Offending {kind} key in {entry.where}", *self._remedy(entry, name))

    def _remedy(self, entry: Entry, name: str) -> tuple[str, ...]:
        return ("  remove with:", f'  ssh-keygen -f "{entry.file}" -R "{name}"')


def _key_of(event: HostKeyOffered) -> PublicKey:
    """The key that is shown, by itself or in a certificate."""
    if plain(event.algorithm) == event.algorithm:
        return PublicKey.from_blob(event.key_blob)
    from tellin.keys.certificates import Certificate  # noqa: PLC0415  (start-up time)

    return Certificate.from_blob(event.key_blob).key


def _in_dns(found: Found | None) -> bool | None:
    """Whether the DNS has the key; None where it was not asked."""
    return (
        None
        if found is None or not found.asked_dns
        else found.verdict.name in {"MATCHES", "PROVEN"}
    )
