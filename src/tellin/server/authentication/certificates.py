# SPDX-License-Identifier: MIT
"""What a user's certificate lets happen, once somebody trusts its authority, and which keys are revoked.

Nothing here knows where authorities are listed: `tellin.server.authentication.access` reads the system's files,
`tellin.server.authentication.admission` what a program was given.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from tellin.algorithms.signatures import CA_SIGNATURE_ALGORITHMS
from tellin.config.key_options import KeyOptions
from tellin.config.patterns import in_block
from tellin.errors import CertificateRejected, ConfigError
from tellin.keys.certificates import Certificate, CertificateOptions, CertificateRole
from tellin.userauth.questions import Shown
from tellin.userauth.text import escape_text


class Revocations(Protocol):
    """Knows which keys are revoked: a `tellin.keys.revocation.RevocationList`, for one."""

    def revokes(self, key: Shown) -> bool:
        """Whether a key is revoked; of a certificate, itself, its key or its authority (R104)."""


def permitted(
    certificate: Certificate,
    line: KeyOptions,
    *,
    names: Collection[str] | None,
    address: str,
    now: float,
    algorithms: Collection[str] = CA_SIGNATURE_ALGORITHMS,
) -> KeyOptions:
    """What a session may do that begins by a certificate of a trusted authority.

    ``line`` is what was said beside the authority, or beside the principal; ``names`` are those of
    which one must be a principal, None where that has been seen to. Raises CertificateRejected.
    """
    certificate.check(CertificateRole.USER, now=now, names=names, algorithms=algorithms)
    options = certificate.options()
    if options.source_address is not None and not _stands_in(address, options.source_address):
        raise CertificateRejected(
            f"Refused by certificate options: not from a permitted address ({address or 'none'})"
        )
    return merged(line, options)


def has_principal(certificate: Certificate, line: KeyOptions) -> bool:
    """Whether ``principals=`` of an authority's line names one of the certificate's."""
    # R100: each name by itself; joined by commas one could stand for two.
    return line.principals is None or any(
        name in certificate.principals for name in line.principals
    )


def _stands_in(address: str, blocks: str) -> bool:
    inside = False
    for block in blocks.split(","):
        try:
            found = in_block(address, block)
        except ConfigError:
            found = None
        if found is None:
            # Case 295: what is neither an address nor a block might have been meant to forbid.
            raise CertificateRejected("Certificate invalid: a damaged source-address option")
        inside = inside or found
    # Where there is no address, none of them is kept (R069).
    return inside


def merged(line: KeyOptions, certificate: CertificateOptions) -> KeyOptions:
    """What both allow; raises CertificateRejected where they demand different commands (case 294)."""
    made = KeyOptions()
    vars(made).update(vars(line))
    if (
        line.command is not None
        and certificate.force_command is not None
        and line.command != certificate.force_command
    ):
        raise CertificateRejected("forced command options do not match")
    if line.command is None and certificate.force_command is not None:
        made.command = certificate.force_command
        # R149: the authority that forces a command says in the same place what else there is.
        made.names_opening = made.names_listening = certificate.permit_port_forwarding
    for name in _PERMISSIONS:
        setattr(made, name, getattr(line, name) and getattr(certificate, name))
    # The touch may be left out only where both say so, as it is the authority's key that the line
    # is about, and not the user's.
    made.touch_required = line.touch_required or certificate.touch_required
    made.verify_required = line.verify_required or certificate.verify_required
    return made


_PERMISSIONS = (
    "permit_agent_forwarding",
    "permit_port_forwarding",
    "permit_pty",
    "permit_user_rc",
    "permit_x11_forwarding",
)


def revocation(shown: Shown, lists: Sequence[tuple[str, Revocations]]) -> str:
    """Why a key or certificate is refused, by lists with their names; empty if none revokes it."""
    for name, revoked in lists:
        if revoked.revokes(shown):
            return f"Authentication key {shown.kind} {shown.fingerprint()} revoked by file {name}"
    return ""


def accepted(certificate: Certificate, where: str) -> str:
    """The line for the log, in OpenSSH's words but for what does not print."""
    authority = certificate.authority
    return (
        f'Accepted certificate ID "{escape_text(certificate.key_id)[:256]}"'
        f" (serial {certificate.serial})"
        f" signed by {authority.kind} CA {authority.fingerprint()} {where}"
    )
