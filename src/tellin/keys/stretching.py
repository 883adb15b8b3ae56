# SPDX-License-Identifier: MIT
"""The key made from a passphrase by OpenSSH's bcrypt_pbkdf, begun before it is needed.

Nothing but bcrypt is imported here: programs begin with this before they load anything else.
"""

import _thread

import bcrypt


class Stretching:
    """Key and IV for one new file, made in a thread of their own.

    bcrypt holds a processor for long, and the interpreter not at all. ``size`` is that of the
    cipher's key and IV together; neither passphrase, salt nor rounds may be nothing.
    """

    __slots__ = ("_done", "_failure", "_material", "_passphrase", "rounds", "salt", "size")

    def __init__(self, passphrase: bytes, *, salt: bytes, rounds: int, size: int) -> None:
        self.salt = salt
        self.rounds = rounds
        self.size = size
        self._passphrase = passphrase
        self._material = b""
        self._failure: ValueError | None = None
        self._done = _thread.allocate_lock()
        self._done.acquire()
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            self._material = bcrypt.kdf(
                self._passphrase, self.salt, self.size, self.rounds, ignore_few_rounds=True
            )
        except ValueError as error:
            # It is told to whoever waits for the result.
            self._failure = error
        finally:
            self._done.release()

    def fits(self, passphrase: bytes, *, rounds: int, size: int) -> bool:
        """Whether this is what would be made now."""
        return (self._passphrase, self.rounds, self.size) == (passphrase, rounds, size)

    def result(self) -> bytes:
        """Key and IV; it waits for them."""
        with self._done:
            if self._failure is not None:
                raise self._failure
            return self._material
