# SPDX-License-Identifier: MIT
"""Whether a server's certificate proves it, by the authorities on record; loaded where one is shown."""

from collections.abc import Collection

from tellin.client.hosts.records import HostPlace
from tellin.config.known_hosts import Entry, Lookup
from tellin.errors import CertificateRejected
from tellin.keys.certificates import FOREVER, Certificate, CertificateRole
from tellin.runtime.journal import Journal
from tellin.userauth.text import escape_text


def describe(certificate: Certificate, journal: Journal) -> None:
    """Say what the server shows."""
    authority = certificate.authority
    journal.debug(
        f"Server host certificate: {certificate.key_type} {certificate.fingerprint()},"
        f' serial {certificate.serial} ID "{escape_text(certificate.key_id)[:256]}"'
        f" CA {authority.key_type} {authority.fingerprint()} valid {_validity(certificate)}"
    )
    for name in certificate.principals:
        journal.debug2(f"Server host certificate hostname: {escape_text(name)[:256]}")


def vouching(
    certificate: Certificate,
    place: HostPlace,
    found: Lookup,
    *,
    now: float,
    algorithms: Collection[str],
    journal: Journal,
) -> Entry | None:
    """The record of an authority that vouches for the host by this certificate; None if there is none.

    ``found`` is what was looked up for the key inside and its authority. A certificate that does not
    hold is said so, and counts for nothing: its key is then judged like any other (R106).
    """
    authority = next(
        (entry for entry in found.authorities if entry.blob == certificate.authority.blob), None
    )
    if authority is not None:
        try:
            certificate.check(
                CertificateRole.HOST,
                now=now,
                # A certificate names hosts, and no ports.
                names=((place.alias or place.host).lower(),),
                algorithms=algorithms,
            )
        except CertificateRejected as rejected:
            journal.error(str(rejected))
            authority = None
    if authority is None:
        journal.debug("No matching CA found. Retry with plain key")
    return authority


def _validity(certificate: Certificate) -> str:
    if certificate.valid_after == 0 and certificate.valid_before == FOREVER:
        return "forever"
    return f"from {_moment(certificate.valid_after)} to {_moment(certificate.valid_before)}"


def _moment(seconds: int) -> str:
    from time import gmtime, strftime  # noqa: PLC0415  (start-up time: for who looks closely)

    if seconds == 0:
        return "the beginning"
    try:
        return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "forever" if seconds == FOREVER else str(seconds)
