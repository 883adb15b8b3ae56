# SPDX-License-Identifier: MIT
"""Goes through a login in memory before the first real one.

What is loaded and set up on first use (modules, OpenSSL's tables) is then in place in every
process that is forked from here, instead of being set up in each of them.
"""

import os
from importlib import import_module

from tellin.algorithms.ciphers import CIPHERS
from tellin.algorithms.key_exchange import KEY_EXCHANGES, Family
from tellin.algorithms.macs import MACS
from tellin.algorithms.protection import make_sealer
from tellin.algorithms.signatures import plain
from tellin.errors import TellinError
from tellin.keys.private import PrivateKey
from tellin.protocol import ClientProtocol, Core, ServerProtocol, Settings
from tellin.protocol.events import (
    AuthenticationAsked,
    Event,
    ExchangeDone,
    HostKeyOffered,
    HostKeySignatureWanted,
    SignatureWanted,
)
from tellin.userauth.policy import Policy
from tellin.userauth.questions import Accepted, Account, Ask, Granted, Reply, Step
from tellin.userauth.server import Authenticator

_TURNS = 64
_USER = "warm"


def warm_up(settings: Settings, host_keys: dict[bytes, PrivateKey]) -> bool:
    """Use every method once and log in by key; whether the login came to its end."""
    try:
        _use_methods(settings)
        return _Rehearsal(settings, host_keys).run()
    except TellinError:
        # What fails here fails for a client, which will be told; the daemon goes on.
        return False


def _use_methods(settings: Settings) -> None:
    # Some modules are loaded when their method is first used: in a forked process that would be
    # once a connection, and from files that may have been replaced since the daemon started.
    preferences = settings.preferences
    for name in preferences.key_exchanges:
        method = KEY_EXCHANGES[name]
        if method.family is Family.ECDH:
            method.respond(method.start().public)
    macs = [MACS[name] for name in preferences.macs]
    for name in preferences.ciphers:
        cipher = CIPHERS[name]
        for mac in macs[:1] if cipher.tag_size else macs:
            make_sealer(
                cipher,
                mac,
                key=bytes(cipher.key_size),
                iv=bytes(cipher.iv_size),
                mac_key=bytes(mac.key_size),
            )
    for kind in ("ed25519", "ecdsa"):
        key = PrivateKey.generate(kind)
        key.public.verify(b"", key.sign(b""), algorithm=key.public.signature_algorithms[0])
    # An RSA key would take a second to make.
    import_module("tellin.keys.rsa")


class _Rehearsal:
    def __init__(self, settings: Settings, host_keys: dict[bytes, PrivateKey]) -> None:
        self._host_keys = host_keys
        self._key = PrivateKey.generate("ed25519")
        self._server = ServerProtocol(settings, now=0.0)
        offer = Settings(settings.preferences, os.urandom)
        self._client = ClientProtocol(offer, now=0.0)
        self._authenticator: Authenticator | None = None

    def run(self) -> bool:
        for _ in range(_TURNS):
            for source, target in ((self._client, self._server), (self._server, self._client)):
                self._carry(source, target)
            for event in self._client.events():
                self._client_event(event)
            for event in self._server.events():
                self._server_event(event)
            if self._client.authenticated:
                return True
        return False

    def _carry(self, source: Core, target: Core) -> None:
        data = b"".join(source.to_send())
        if data:
            source.sent(len(data))
            target.receive_data(data, 0.0)

    def _client_event(self, event: Event) -> None:
        match event:
            case HostKeyOffered():
                self._client.trust_host_key()
            case ExchangeDone():
                blob = self._key.public.blob
                self._client.try_publickey(_USER, blob, "ssh-ed25519", signed=True)
            case SignatureWanted(data=data, algorithm=algorithm):
                self._client.give_signature(self._key.sign(data, algorithm))
            case _:
                pass

    def _server_event(self, event: Event) -> None:
        match event:
            case HostKeySignatureWanted(key_blob=blob, algorithm=algorithm, data=data):
                name = plain(algorithm)
                signature = self._host_keys[blob].sign(data, name, sha1=name == "ssh-rsa")
                self._server.give_host_key_signature(signature)
            case AuthenticationAsked(payload=payload):
                self._authenticator = Authenticator(
                    self._server.session_id,
                    host_key_blob=self._server.host_key,
                    policy=Policy(self._key.public.signature_algorithms),
                )
                self._step(self._authenticator.receive(payload))
            case _:
                pass

    def _step(self, step: Step) -> None:
        assert self._authenticator is not None
        match step:
            case Ask(question=question):
                known = type(question).answers[0] is Account
                answer = Account(known=True) if known else Accepted()
                self._step(self._authenticator.answer(answer))
            case Granted(user=user, method=method):
                self._server.grant_authentication(user, method)
            case Reply(messages=messages):
                self._server.answer_authentication(messages)
