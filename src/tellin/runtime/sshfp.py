# SPDX-License-Identifier: MIT
"""Fingerprints of host keys in the DNS (RFC 4255), by dnspython, which the extra ``dns`` brings."""

import os
from typing import Final

from tellin.errors import ConfigError
from tellin.wire import Record

RESOLV_CONF: Final = "/etc/resolv.conf"

_SECONDS: Final = 10.0
_MOST_RECORDS: Final = 64
_LONGEST_CONFIG: Final = 1 << 20


class SshfpRecord(Record):
    """One record: numbers of the key's algorithm and of the hash, and the fingerprint."""

    algorithm: int
    hash_type: int
    fingerprint: bytes


class SshfpAnswer(Record):
    """What the DNS says of a host; ``secure`` if the name server vouches for it and may do so."""

    records: tuple[SshfpRecord, ...]
    secure: bool


def look_up(
    host: str, *, resolv_conf: str = RESOLV_CONF, port: int = 53, seconds: float = _SECONDS
) -> SshfpAnswer:
    """The records of a host, none where there are none or nobody answers. It waits.

    ConfigError: dnspython is not there.
    """
    try:
        # Only who asks the DNS for keys needs it.
        import dns.exception  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        import dns.flags  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        import dns.resolver  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError:
        raise ConfigError(
            "VerifyHostKeyDNS needs dnspython", hint="pip install 'tellin[dns]'"
        ) from None
    try:
        resolver = dns.resolver.Resolver(filename=resolv_conf)
        resolver.port = port
        resolver.use_edns(0, dns.flags.DO, 1232)
        # RFC 6840 section 5.7: this asks for the AD bit in the answer.
        resolver.flags = dns.flags.RD | dns.flags.AD
        answer = resolver.resolve(
            f"{host.rstrip('.')}.", "SSHFP", raise_on_no_answer=False, lifetime=seconds
        )
    except (dns.exception.DNSException, OSError, ValueError):
        # No such name, no answer, an answer that is none: all of them are no records.
        return SshfpAnswer((), secure=False)
    records = tuple(
        SshfpRecord(record.algorithm, record.fp_type, bytes(record.fingerprint))
        for record in list(answer.rrset or ())[:_MOST_RECORDS]
    )
    vouched = bool(answer.response.flags & dns.flags.AD)
    return SshfpAnswer(records, secure=vouched and trusts_ad(resolv_conf))


def trusts_ad(resolv_conf: str = RESOLV_CONF) -> bool:
    """Whether the machine's owner trusts its name server, and the way to it, to have verified answers.

    The AD bit is one bit that whoever sits between may set: resolv.conf(5) and RES_OPTIONS say by
    ``trust-ad`` that nobody does.
    """
    words = os.environ.get("RES_OPTIONS", "").split()
    try:
        with open(resolv_conf, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 (start-up)
            for line in file.read(_LONGEST_CONFIG).splitlines():
                if line.split()[:1] == ["options"]:
                    words += line.split()[1:]
    except OSError:
        pass
    return "trust-ad" in words
