# SPDX-License-Identifier: MIT
"""Make a key, write it, read it back, sign with it and verify."""

from tellin.keys import PrivateKey, PublicKey, load_private_key

key = PrivateKey.generate("ed25519", comment="me@here")
print(key.public.to_line())
print(key.public.fingerprint())

stored = key.to_openssh(b"a passphrase")
again = load_private_key(stored, b"a passphrase")
assert again.public == key.public

signature = again.sign(b"some bytes", "ssh-ed25519")
anybody = PublicKey.from_line(key.public.to_line())
assert anybody.verify(b"some bytes", signature, algorithm="ssh-ed25519")
assert not anybody.verify(b"other bytes", signature, algorithm="ssh-ed25519")
