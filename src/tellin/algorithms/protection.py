# SPDX-License-Identifier: MIT
"""From a negotiated cipher and MAC, with their keys, to what seals and opens packets."""

from tellin.algorithms.ciphers import AeadCipher, Cipher, HidingCipher
from tellin.algorithms.macs import Mac
from tellin.algorithms.sealing import CLEAR_OPENER, CLEAR_SEALER, Opener, Sealer
from tellin.errors import UsageError

__all__ = ["CLEAR_OPENER", "CLEAR_SEALER", "Opener", "Sealer", "make_opener", "make_sealer"]


def make_sealer(
    cipher: Cipher, mac: Mac | None, *, key: bytes, iv: bytes, mac_key: bytes
) -> Sealer:
    """One direction's packets on the way out; an AEAD cipher takes no notice of ``mac``.

    ``iv`` is the derived one, or the ``current_iv`` of a sealer that this one takes the place of.
    """
    _check(cipher, key, iv)
    if isinstance(cipher, AeadCipher):
        return cipher.sealer(key, iv)
    hiding, mac = _pair(cipher, mac, mac_key)
    # Here because it brings in hmac and hashlib, which no connection under an AEAD cipher needs.
    from tellin.algorithms.separate_macs import (  # noqa: PLC0415  (start-up time)
        EncryptAndMacSealer,
        EncryptThenMacSealer,
    )

    kind = EncryptThenMacSealer if mac.etm else EncryptAndMacSealer
    return kind(
        hiding.encryptor(key, iv), mac.build(mac_key), block=cipher.block_size, tag=mac.tag_size
    )


def make_opener(
    cipher: Cipher, mac: Mac | None, *, key: bytes, iv: bytes, mac_key: bytes
) -> Opener:
    """One direction's packets on the way in; an AEAD cipher takes no notice of ``mac``.

    ``iv`` is the derived one, or the ``current_iv`` of an opener that this one takes the place of.
    """
    _check(cipher, key, iv)
    if isinstance(cipher, AeadCipher):
        return cipher.opener(key, iv)
    hiding, mac = _pair(cipher, mac, mac_key)
    # Here because it brings in hmac and hashlib, which no connection under an AEAD cipher needs.
    from tellin.algorithms.separate_macs import (  # noqa: PLC0415  (start-up time)
        ChainedEncryptAndMacOpener,
        EncryptAndMacOpener,
        EncryptThenMacOpener,
    )

    kind: type[EncryptThenMacOpener | EncryptAndMacOpener]
    if mac.etm:
        kind = EncryptThenMacOpener
    else:
        kind = ChainedEncryptAndMacOpener if hiding.chained else EncryptAndMacOpener
    return kind(
        hiding.decryptor(key, iv), mac.build(mac_key), block=cipher.block_size, tag=mac.tag_size
    )


def _check(cipher: Cipher, key: bytes, iv: bytes) -> None:
    if len(key) != cipher.key_size or len(iv) != cipher.iv_size:
        raise UsageError(
            f"{cipher.name} takes {cipher.key_size} and {cipher.iv_size} bytes of key and IV, "
            f"not {len(key)} and {len(iv)}"
        )


def _pair(cipher: Cipher, mac: Mac | None, mac_key: bytes) -> tuple[HidingCipher, Mac]:
    # A cipher that only hides lets anybody flip bits: it never runs alone (R031).
    if mac is None or not isinstance(cipher, HidingCipher):
        raise UsageError(f"{cipher.name} needs a MAC")
    if len(mac_key) != mac.key_size:
        raise UsageError(f"{mac.name} takes {mac.key_size} bytes of key, not {len(mac_key)}")
    return cipher, mac
