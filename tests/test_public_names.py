# SPDX-License-Identifier: MIT
"""The names that stay: what an ``__init__`` lists in ``__all__`` is public, and changes here first."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "tellin"

PUBLIC: dict[str, set[str]] = {
    "tellin": {
        "AuthenticationFailed",
        "Candidate",
        "ChannelRefused",
        "CommandFailed",
        "Completed",
        "ConfigError",
        "ConnectFailed",
        "Connection",
        "ConnectionLost",
        "Disconnected",
        "Display",
        "Files",
        "Forwarding",
        "FsspecFiles",
        "HostKeyChanged",
        "HostKeyPolicy",
        "HostKeyQuestion",
        "HostKeyRejected",
        "HostKeyRevoked",
        "HostKeyUnknown",
        "KeepAlive",
        "KeyFileError",
        "KnownHosts",
        "Listener",
        "MemoryFiles",
        "NegotiationFailed",
        "Pool",
        "PrivateKey",
        "Process",
        "ProtocolError",
        "PublicKey",
        "QuotaFiles",
        "Reader",
        "Redirect",
        "RemoteFile",
        "RequestRefused",
        "RootedFiles",
        "RunCommands",
        "ServeFiles",
        "Server",
        "ServerProcess",
        "SftpError",
        "SignatureFailed",
        "Signer",
        "Stream",
        "TellinError",
        "Terminal",
        "TimedOut",
        "Tunnel",
        "TunnelState",
        "UsageError",
        "Writer",
        "WrongPassphrase",
        "blocking",
        "connect",
        "load_private_key",
        "load_public_key",
        "serve",
    },
    "tellin.blocking": {
        "Connection",
        "Files",
        "Forwarding",
        "Lease",
        "Listener",
        "Pool",
        "Process",
        "Reader",
        "RemoteFile",
        "Server",
        "ServerProcess",
        "Stream",
        "Tunnel",
        "Writer",
        "connect",
        "serve",
    },
    "tellin.keys": {
        "Agent",
        "AuthorizedKeys",
        "Certificate",
        "CertificateRole",
        "FileSignature",
        "KnownHosts",
        "sign",
        "verify",
        "RevocationList",
        "PrivateKey",
        "PublicKey",
        "Signer",
        "load_certificate",
        "load_private_key",
        "load_public_key",
        "load_revocations",
        "randomart",
    },
    "tellin.protocol": {
        "Channel",
        "ClientProtocol",
        "ConnectionSettings",
        "Core",
        "Direction",
        "KeepAlive",
        "Negotiated",
        "Preferences",
        "Role",
        "ServerProtocol",
        "Settings",
        "Sink",
    },
    "tellin.sftp": {
        "Attributes",
        "Entry",
        "FileSystem",
        "Listing",
        "OpenFile",
        "Statistics",
        "StatusCode",
    },
    "tellin.testing": {"Collector", "Loopback", "client_settings", "server_settings"},
    "tellin.wire": {
        "Boolean",
        "Byte",
        "Cursor",
        "MPInt",
        "Message",
        "NameList",
        "ReceiveBuffer",
        "Record",
        "Rest",
        "SendBuffer",
        "String",
        "Text",
        "UInt32",
        "UInt64",
        "WireType",
        "mpint",
        "string",
    },
}


def listed() -> dict[str, set[str]]:
    """Every ``__all__`` of the package and its rooms, read without importing."""
    found = {}
    for path in sorted([*PACKAGE.glob("*.py"), *PACKAGE.glob("*/__init__.py")]):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                found[module] = set(ast.literal_eval(node.value))
    return found


def test_public_names_are_the_ones_pinned_here() -> None:
    assert listed() == PUBLIC


@pytest.mark.parametrize("module", sorted(PUBLIC))
def test_every_public_name_is_there_and_says_what_it_is(module: str) -> None:
    room = importlib.import_module(module)
    for name in PUBLIC[module]:
        value = getattr(room, name)
        if isinstance(value, type) or callable(value):
            assert (value.__doc__ or "").strip(), f"{module}.{name} has no docstring"


def test_importing_tellin_loads_neither_asyncio_nor_cryptography() -> None:
    code = "import sys, tellin; print(*sorted({'asyncio', 'cryptography', 'socket'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
