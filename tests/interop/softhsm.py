# SPDX-License-Identifier: MIT
"""A PKCS#11 token in software: SoftHSM, with keys that never leave it."""

import base64
import os
import subprocess
import sys
from pathlib import Path

_FOLDERS = ("/usr/lib/softhsm", "/usr/lib64/softhsm", "/usr/local/lib/softhsm")
MODULE = next(
    (str(place) for folder in _FOLDERS if (place := Path(folder, "libsofthsm2.so")).exists()), ""
)
PIN = "1234"

# In a process of its own, as tellin does it: a module is nothing for the process of the tests.
_MAKE = """
import sys, pkcs11
from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.util.ec import encode_named_curve_parameters as named

module, pin, *kinds = sys.argv[1:]
token = pkcs11.lib(module).get_token(token_label="tests")
with token.open(rw=True, user_pin=pin) as session:
    for number, kind in enumerate(kinds, 1):
        words = {"store": True, "label": f"a {kind} key", "id": bytes((number,))}
        if kind == "rsa":
            session.generate_keypair(KeyType.RSA, 2048, **words)
        elif kind == "ed25519":
            parameters = {Attribute.EC_PARAMS: bytes.fromhex("06032b6570")}
            domain = session.create_domain_parameters(KeyType.EC_EDWARDS, parameters, local=True)
            domain.generate_keypair(mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN, **words)
        else:
            parameters = {Attribute.EC_PARAMS: named(kind)}
            domain = session.create_domain_parameters(KeyType.EC, parameters, local=True)
            domain.generate_keypair(**words)
"""
KINDS = ("rsa", "secp256r1", "secp384r1", "secp521r1", "ed25519")


class SoftToken:
    """A token of its own; ``environment`` leads a module to it."""

    def __init__(self, directory: Path) -> None:
        (directory / "tokens").mkdir()
        settings = directory / "softhsm2.conf"
        settings.write_text(f"directories.tokendir = {directory}/tokens\nlog.level = ERROR\n")
        self.environment = {"SOFTHSM2_CONF": str(settings)}
        words = "--init-token --free --label tests --so-pin 5678 --pin"
        self._run("softhsm2-util", *words.split(), PIN)
        self._run(sys.executable, "-c", _MAKE, MODULE, PIN, *KINDS)

    def _run(self, *words: str) -> None:
        subprocess.run(
            words,
            env={**os.environ, **self.environment},
            check=True,
            capture_output=True,
            timeout=60,
        )


def type_of(line: str) -> str:
    """The type inside the blob of a public line."""
    blob = base64.b64decode(line.split()[1])
    return blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode()
