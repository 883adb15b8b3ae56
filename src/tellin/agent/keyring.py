# SPDX-License-Identifier: MIT
"""The keys that an agent holds: added, found, expired, locked away."""

from collections.abc import Callable, Sequence
from hashlib import scrypt
from hmac import compare_digest
from typing import Final

from tellin.agent.constraints import Constraints
from tellin.agent.credentials import Credential, TokenKey
from tellin.agent.messages import MOST_BYTES, MOST_IDENTITIES
from tellin.errors import UsageError
from tellin.wire import Record

# R156: each wrong passphrase makes the next try wait longer, whoever makes it.
_STEP: Final = 0.1
_LONGEST_WAIT: Final = 10.0
_SALT: Final = 16
# What a reply that lists keys holds besides them: its type and their count.
_LIST_HEAD: Final = 5
# Some 15 ms: a stolen memory image is not searched for the passphrase at memory speed.
_SCRYPT: Final = {"n": 4096, "r": 8, "p": 1, "dklen": 32}


class Held(Record):
    """A key in the keyring; ``expires`` is by the clock that ``now`` comes from."""

    credential: Credential
    comment: str
    constraints: Constraints
    expires: float | None

    @property
    def blob(self) -> bytes:
        """What it is known by: the blob of its public half, or of its certificate."""
        return self.credential.public.blob

    @property
    def listed_bytes(self) -> int:
        """How much of a reply it takes to show it: blob and comment behind their lengths."""
        return 8 + len(self.blob) + len(self.comment.encode("utf-8", "surrogateescape"))


def _module_of(held: Held) -> str:
    key = held.credential.key
    return key.provider if isinstance(key, TokenKey) else ""


class _Padlock(Record, secret=("salt", "digest")):
    salt: bytes
    digest: bytes

    def opens(self, passphrase: bytes) -> bool:
        """Whether it is the one, told in a time that does not depend on how much of it fits."""
        return compare_digest(_digest(passphrase, self.salt), self.digest)


def _digest(passphrase: bytes, salt: bytes) -> bytes:
    return scrypt(passphrase, salt=salt, **_SCRYPT)


class Keyring:
    """All keys of an agent, in the order in which they came.

    ``lifetime`` is that of keys that come without one, in seconds. ``random`` gives salts.
    """

    def __init__(self, *, random: Callable[[int], bytes], lifetime: int | None = None) -> None:
        self.lifetime = lifetime
        self.next_try = 0.0  # no passphrase is tried before
        self._random = random
        self._keys: dict[bytes, Held] = {}
        self._padlock: _Padlock | None = None
        self._failures = 0

    # Keys

    def keys(self, now: float) -> Sequence[Held]:
        """Those that have not expired."""
        self.expire(now)
        return list(self._keys.values())

    def find(self, blob: bytes, now: float) -> Held | None:
        """One of them."""
        self.expire(now)
        return self._keys.get(blob)

    def add(
        self, credential: Credential, comment: str, constraints: Constraints, now: float
    ) -> None:
        """Keep a key; one that is there already gets the new comment and constraints."""
        blob = credential.public.blob
        if blob not in self._keys and len(self._keys) >= MOST_IDENTITIES:
            raise UsageError(f"an agent holds {MOST_IDENTITIES} keys and no more")
        lifetime = constraints.lifetime or self.lifetime
        expires = None if lifetime is None else now + lifetime
        made = Held(credential, comment, constraints, expires)
        others = (held for known, held in self._keys.items() if known != blob)
        # R155: a longer list nobody would read, and all keys were out of reach.
        if _LIST_HEAD + made.listed_bytes + sum(h.listed_bytes for h in others) > MOST_BYTES:
            raise UsageError(f"more keys than fit into a list of {MOST_BYTES} bytes")
        self._keys[blob] = made

    def remove(self, blob: bytes) -> bool:
        """Forget a key; whether it was there."""
        return self._keys.pop(blob, None) is not None

    def remove_module(self, provider: str) -> bool:
        """Forget the keys of a PKCS#11 module's tokens; whether there were any."""
        over = [blob for blob, held in self._keys.items() if _module_of(held) == provider]
        for blob in over:
            del self._keys[blob]
        return bool(over)

    def modules(self) -> set[str]:
        """The PKCS#11 modules that keys here need."""
        return {module for held in self._keys.values() if (module := _module_of(held))}

    def clear(self) -> None:
        """Forget all keys."""
        self._keys.clear()

    def expire(self, now: float) -> None:
        """Forget what is over."""
        over = [
            blob
            for blob, held in self._keys.items()
            if held.expires is not None and held.expires <= now
        ]
        for blob in over:
            del self._keys[blob]

    def deadline(self) -> float | None:
        """When the next key is over."""
        times = [held.expires for held in self._keys.values() if held.expires is not None]
        return min(times, default=None)

    # The lock

    @property
    def locked(self) -> bool:
        """Whether nothing is to be had."""
        return self._padlock is not None

    def lock(self, passphrase: bytes) -> bool:
        """Lock it; false if it is locked already."""
        if self._padlock is not None:
            return False
        salt = self._random(_SALT)
        self._padlock = _Padlock(salt, _digest(passphrase, salt))
        return True

    def unlock(self, passphrase: bytes, now: float) -> bool:
        """Try a passphrase; not before ``next_try``."""
        padlock = self._padlock
        if padlock is None:
            return False
        if padlock.opens(passphrase):
            self._padlock = None
            self._failures = 0
            return True
        self._failures += 1
        self.next_try = now + min(self._failures * _STEP, _LONGEST_WAIT)
        return False
