# SPDX-License-Identifier: MIT
"""The ciphers that openssh-key-v1 files are encrypted with, and the key made from a passphrase.

Imported only when a passphrase is at hand.
"""

import hmac
from collections.abc import Callable, Mapping
from typing import Final

import bcrypt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES, ChaCha20
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR
from cryptography.hazmat.primitives.poly1305 import Poly1305

from tellin.errors import KeyFileError, UsageError, WrongPassphrase


class FileCipher:
    """One way to encrypt the private part: sizes, and both directions (key, iv, data)."""

    __slots__ = ("block_size", "iv_size", "key_size", "seal", "tag_size", "unseal")

    def __init__(
        self,
        key_size: int,
        iv_size: int,
        block_size: int,
        *,
        seal: Callable[[bytes, bytes, bytes], bytes],
        unseal: Callable[[bytes, bytes, bytes], bytes],
        tag_size: int = 0,
    ) -> None:
        self.key_size = key_size
        self.iv_size = iv_size
        self.block_size = block_size
        self.tag_size = tag_size
        self.seal = seal
        self.unseal = unseal


def _ctr(key_size: int) -> FileCipher:
    def crypt(key: bytes, iv: bytes, data: bytes) -> bytes:
        context = Cipher(AES(key), CTR(iv)).encryptor()
        return context.update(data) + context.finalize()

    return FileCipher(key_size, 16, 16, seal=crypt, unseal=crypt)


def _cbc(
    algorithm: Callable[[bytes], BlockCipherAlgorithm], key_size: int, block_size: int
) -> FileCipher:
    def seal(key: bytes, iv: bytes, data: bytes) -> bytes:
        context = Cipher(algorithm(key), CBC(iv)).encryptor()
        return context.update(data) + context.finalize()

    def unseal(key: bytes, iv: bytes, data: bytes) -> bytes:
        context = Cipher(algorithm(key), CBC(iv)).decryptor()
        return context.update(data) + context.finalize()

    return FileCipher(key_size, block_size, block_size, seal=seal, unseal=unseal)


def _gcm(key_size: int) -> FileCipher:
    def seal(key: bytes, iv: bytes, data: bytes) -> bytes:
        return AESGCM(key).encrypt(iv, data, None)

    def unseal(key: bytes, iv: bytes, data: bytes) -> bytes:
        try:
            return AESGCM(key).decrypt(iv, data, None)
        except InvalidTag:
            raise WrongPassphrase from None

    return FileCipher(key_size, 12, 16, tag_size=16, seal=seal, unseal=unseal)


def _chacha20(key: bytes, counter: int, data: bytes) -> bytes:
    # PROTOCOL.chacha20poly1305 with sequence number 0: a 64-bit little-endian block counter,
    # then a nonce of zeros.
    nonce = counter.to_bytes(8, "little") + bytes(8)
    return Cipher(ChaCha20(key[:32], nonce), None).encryptor().update(data)


def _chacha20_poly1305() -> FileCipher:
    def tag_of(key: bytes, sealed: bytes) -> bytes:
        return Poly1305.generate_tag(_chacha20(key, 0, bytes(32)), sealed)

    def seal(key: bytes, iv: bytes, data: bytes) -> bytes:
        sealed = _chacha20(key, 1, data)
        return sealed + tag_of(key, sealed)

    def unseal(key: bytes, iv: bytes, data: bytes) -> bytes:
        sealed, tag = data[:-16], data[-16:]
        if not hmac.compare_digest(tag_of(key, sealed), tag):
            raise WrongPassphrase
        return _chacha20(key, 1, sealed)

    return FileCipher(64, 0, 8, tag_size=16, seal=seal, unseal=unseal)


# What ``ssh-keygen -Z`` of OpenSSH takes; the old ones are there because old files are.
FILE_CIPHERS: Final[Mapping[str, FileCipher]] = {
    "aes256-ctr": _ctr(32),
    "aes192-ctr": _ctr(24),
    "aes128-ctr": _ctr(16),
    "aes256-gcm@openssh.com": _gcm(32),
    "aes128-gcm@openssh.com": _gcm(16),
    "chacha20-poly1305@openssh.com": _chacha20_poly1305(),
    "aes256-cbc": _cbc(AES, 32, 16),
    "aes192-cbc": _cbc(AES, 24, 16),
    "aes128-cbc": _cbc(AES, 16, 16),
    "3des-cbc": _cbc(TripleDES, 24, 8),
}


def file_cipher(name: str) -> FileCipher:
    """The cipher of that name; KeyFileError if we have none."""
    try:
        return FILE_CIPHERS[name]
    except KeyError:
        raise KeyFileError(f"encrypted by the unknown cipher {name[:64]!r}") from None


def stretch(passphrase: bytes, salt: bytes, rounds: int, size: int) -> bytes:
    """Key and IV out of a passphrase, by OpenSSH's bcrypt_pbkdf."""
    if not passphrase or not salt or rounds < 1:
        raise UsageError("a passphrase, a salt and at least one round are needed")
    return bcrypt.kdf(passphrase, salt, size, rounds, ignore_few_rounds=True)
