# SPDX-License-Identifier: MIT
"""The check of the server and the login of ``ssh``, from the values of its configuration.

Loaded while the server is still busy with the first exchange.
"""

import os
from collections.abc import Callable, Sequence

from tellin.algorithms.key_exchange import KEY_EXCHANGES
from tellin.client.authentication.identities import FileKeys, KeyPolicy, KeySource
from tellin.client.authentication.login import Login
from tellin.client.connection import ClientConnection
from tellin.client.hosts.host_keys import HostKeyCheck, HostKeyPolicy, Revocations, Sources
from tellin.client.hosts.records import HostPlace, Records
from tellin.client.preferences import authority_algorithms, login_plan, required_rsa_size
from tellin.client.questions import Nobody, Prompter
from tellin.config.ssh_config import SshConfig
from tellin.errors import ConnectFailed
from tellin.keys.private import PrivateKey
from tellin.keys.public import PublicKey
from tellin.protocol.core import Core
from tellin.runtime.journal import INFO, Journal
from tellin.runtime.loop import Loop
from tellin.userauth.messages import KEYBOARD_INTERACTIVE, PASSWORD
from tellin.userauth.text import escape_text


def equip(
    loop: Loop,
    connection: ClientConnection,
    config: SshConfig,
    journal: Journal,
    *,
    place: HostPlace,
    records: Records,
    sources: Sources | None,
) -> HostKeyCheck:
    """Give the connection what it needs for HostKeyOffered and the login; the first of the two."""
    # Behind a ProxyCommand or another host nobody here knows the address.
    indirect = config.proxy_command or config.proxy_jump
    place.address = "" if indirect else connection.place.address
    prompter: Prompter = Nobody()
    if not config.batch_mode:
        from tellin.client.authentication.asking import TerminalPrompter

        prompter = TerminalPrompter(
            journal, who=f"{config.user}@{config.host_argument}", visual=config.visual_host_key
        )
    login = Login(
        connection.core,
        login_plan(config, host=config.host_argument),
        keys=[_keys(loop, connection, config, prompter, journal)],
        prompter=prompter,
        journal=journal,
    )
    connection.login = login
    check = connection.check = HostKeyCheck(
        connection.core,
        place,
        policy=HostKeyPolicy(config.strict_host_key_checking),
        records=records,
        prompter=prompter,
        journal=journal,
        hash_names=config.hash_known_hosts,
        fingerprint_hash=config.fingerprint_hash,
        required_rsa_size=required_rsa_size(config),
        authority_algorithms=authority_algorithms(config),
        revocations=_revocations(config),
        sources=sources,
        trust_dns=config.verify_host_key_dns == "yes",
        no_local_check=config.no_host_authentication_for_localhost,
        on_unsafe=lambda: login.forbid(PASSWORD, KEYBOARD_INTERACTIVE),
        on_trusted=lambda key: _draw(key, config, journal),
    )
    if journal.debugs:
        where = f"{connection.place.host}:{config.port}"
        journal.debug(f"Authenticating to {where} as '{config.user}'")
    login.prepare()
    return check


def _keys(
    loop: Loop,
    connection: ClientConnection,
    config: SshConfig,
    prompter: Prompter,
    journal: Journal,
) -> KeySource:
    keys = _plain_keys(loop, connection, config, prompter, journal)
    listed = config.certificate_file
    # OpenSSH looks beside the keys only where no certificate is named.
    beside = () if listed else tuple(filter(_has_certificate, config.identity_file))
    if not (listed or beside):
        return keys
    # Who has no certificate does not pay for it.
    from tellin.client.authentication.certified import CertifiedKeys

    return CertifiedKeys(keys, listed=listed, beside=beside, journal=journal)


def _has_certificate(path: str) -> bool:
    return os.path.lexists(f"{path}-cert.pub")


def _revocations(
    config: SshConfig,
) -> Callable[[], Sequence[tuple[str, Revocations]]] | None:
    """What RevokedHostKeys names; one that cannot be read raises what is wrong with it."""
    if not config.revoked_host_keys:
        return None

    def read() -> Sequence[tuple[str, Revocations]]:
        from tellin.client.hosts.revoked import revocation_lists

        return revocation_lists(config.revoked_host_keys)

    return read


def _plain_keys(
    loop: Loop,
    connection: ClientConnection,
    config: SshConfig,
    prompter: Prompter,
    journal: Journal,
) -> KeySource:
    files = _files(loop, connection, config, prompter, journal)
    path = config.agent_path(os.environ)
    if path is None:
        return files
    # Who has no agent does not pay for it.
    from tellin.client.authentication.agent_keys import AgentKeys
    from tellin.client.authentication.agent_link import AgentLink
    from tellin.client.authentication.agents import open_agent

    try:
        stream = open_agent(path)
    except ConnectFailed as error:
        journal.debug(f"get_agent_identities: ssh_get_authentication_socket: {error}")
        return files
    return AgentKeys(
        AgentLink(loop, stream),
        connection.core,
        flush=connection.link.flush_soon,
        files=files,
        only_files=config.identities_only,
        journal=journal,
    )


def _files(
    loop: Loop,
    connection: ClientConnection,
    config: SshConfig,
    prompter: Prompter,
    journal: Journal,
) -> KeySource:
    def ask_pin(question: str) -> bytes | None:
        from tellin.runtime import prompts

        answer = None if config.batch_mode else prompts.ask(escape_text(question))
        return None if answer is None else answer.encode("utf-8", "surrogateescape")

    def sign_inside(
        private: PrivateKey,
        name: str,
        data: bytes,
        algorithm: str,
        done: Callable[[bytes | None], object],
    ) -> None:
        # Who has no security key does not pay for it.
        from tellin.client.authentication.token_keys import SecurityKeys

        keys = SecurityKeys(
            loop,
            provider=_security_key_provider(config),
            ask_pin=ask_pin,
            flush=connection.link.flush_soon,
            journal=journal,
        )
        keys.sign(private, name, data, algorithm, done)

    def give(private: PrivateKey, name: str) -> None:
        from tellin.programs.ssh.giving import give_to_agent

        give_to_agent(private, name, config, journal)

    files = FileKeys(
        config.identity_file,
        # Expanding sets the defaults too; only what was written somewhere has a place.
        explicit=bool(config.origin("identity_file")[0]),
        policy=KeyPolicy(
            prompts=config.number_of_password_prompts,
            batch=config.batch_mode,
            sign_inside=sign_inside,
            on_use=None if config.add_keys_to_agent.how == "no" else give,
        ),
        prompter=prompter,
        journal=journal,
    )
    provider = config.pkcs11_provider
    if provider is None or provider.lower() == "none":
        return files
    from tellin.client.authentication.token_keys import ModuleKeys

    return ModuleKeys(
        loop,
        os.path.realpath(provider),
        files=files,
        ask_pin=ask_pin,
        flush=connection.link.flush_soon,
        journal=journal,
    )


def _security_key_provider(config: SshConfig) -> str:
    provider = config.security_key_provider
    if provider.startswith("$"):
        return os.environ.get(provider[1:]) or "internal"
    if not config.origin("security_key_provider")[0]:
        return os.environ.get("SSH_SK_PROVIDER") or provider
    return provider


def _draw(key: PublicKey, config: SshConfig, journal: Journal) -> None:
    if config.visual_host_key and journal.level >= INFO:
        from tellin.keys.pictures import randomart

        journal.info(f"Host key fingerprint is {key.fingerprint(config.fingerprint_hash)}")
        for line in randomart(key, config.fingerprint_hash).splitlines():
            journal.info(line)


def warn_of_weak_exchange(core: Core, config: SshConfig, journal: Journal) -> None:
    """Say where what is recorded today may be read one day."""
    algorithms = core.algorithms
    # For people: scripts compare standard error with what a command wrote there.
    wanted = config.is_set("warn_weak_crypto") or os.isatty(2)
    # no-pq-kex turns off this warning, which is the only one there is; no turns off all.
    if not wanted or config.warn_weak_crypto != "yes" or algorithms is None:
        return
    if not KEY_EXCHANGES[algorithms.key_exchange].post_quantum:
        journal.info("** WARNING: connection is not using a post-quantum key exchange algorithm.")
        journal.info("** What is recorded of it today may be read by a quantum computer one day.")
