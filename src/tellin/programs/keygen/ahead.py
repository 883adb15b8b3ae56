# SPDX-License-Identifier: MIT
"""What takes longest in a program, begun before the program itself is loaded.

A passphrase on ssh-keygen's command line takes four times as long to be made into a key as all the
rest of the program. A command line that is not understood here begins nothing, and is none the
worse for it.
"""

import os

from tellin.keys.stretching import Stretching

# Of a command line that makes a key in OpenSSH's format under its usual cipher.
_FLAGS = frozenset({"-q", "-v"})
_VALUES = frozenset({"-a", "-b", "-C", "-E", "-f", "-N", "-t"})
CIPHER = "aes256-ctr"
ROUNDS = 16
SALT_BYTES = 16
# Of the cipher's key and its IV.
MATERIAL_BYTES = 32 + 16

_begun: list[Stretching] = []


def begin(argv: list[str]) -> None:
    """Begin what ``argv`` will need, if that can be seen at a glance."""
    keygen = argv[0].rpartition("/")[2] == "ssh-keygen"
    words = argv[1:] if keygen else argv[2:] if argv[1:2] == ["ssh-keygen"] else []
    given = {}
    while words:
        word = words.pop(0)
        if word in _VALUES and words:
            given[word] = words.pop(0)
        elif word not in _FLAGS:
            return
    rounds = given.get("-a", str(ROUNDS))
    if given.get("-N") and rounds.isdecimal() and len(rounds) < 9 and int(rounds):
        _begun.append(stretching(given["-N"].encode("utf-8", "surrogateescape"), int(rounds)))


def stretching(passphrase: bytes, rounds: int) -> Stretching:
    """What a passphrase is made into for a new file, begun now; or what was begun before."""
    if _begun and _begun[0].fits(passphrase, rounds=rounds, size=MATERIAL_BYTES):
        # A salt is for one file.
        return _begun.pop()
    return Stretching(passphrase, salt=os.urandom(SALT_BYTES), rounds=rounds, size=MATERIAL_BYTES)
