# SPDX-License-Identifier: MIT
"""Certificates made for tests: an authority, what it says of a key, and a key that is shown by one."""

import time
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from tellin.algorithms.signatures import plain
from tellin.keys import Certificate, CertificateRole, PrivateKey, PublicKey, Signer
from tellin.keys.certificates import DEFAULT_EXTENSIONS, flag, text_option

MINUTES = 60


@cache
def _authority(number: int) -> PrivateKey:
    return PrivateKey.generate("ed25519", comment=f"authority {number}")


def authority(number: int = 0) -> PrivateKey:
    return _authority(number)


def user_certificate(
    key: PublicKey,
    *principals: str,
    options: Mapping[str, str | None] | None = None,
    extensions: Iterable[str] = DEFAULT_EXTENSIONS,
    signer: PrivateKey | None = None,
    now: float | None = None,
    **changes: Any,
) -> Certificate:
    """Good for five minutes; an option without a value is a flag."""
    start = int(time.time() if now is None else now)
    critical = [
        flag(name) if value is None else text_option(name, value)
        for name, value in (options or {}).items()
    ]
    fields: dict[str, Any] = {
        "key_id": "five minutes",
        "serial": 7,
        "valid_after": start - MINUTES,
        "valid_before": start + 5 * MINUTES,
        "critical_options": critical,
        "extensions": [flag(name) for name in extensions],
        "principals": principals,
    }
    return Certificate.issue(signer or authority(), key, **{**fields, **changes})


def host_certificate(key: PublicKey, *principals: str, **changes: Any) -> Certificate:
    fields: dict[str, Any] = {"role": CertificateRole.HOST, "extensions": (), **changes}
    return user_certificate(key, *principals, **fields)


class Certified:
    """A signer that is shown by a certificate."""

    def __init__(self, key: Signer, certificate: Certificate) -> None:
        self.public = certificate
        self._key = key

    def sign(self, data: bytes, algorithm: str) -> bytes:
        return self._key.sign(data, plain(algorithm))
