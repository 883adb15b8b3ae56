# SPDX-License-Identifier: MIT
"""tellin: the secure shell, in Python.

The names below are loaded when they are first used: a program that only makes a key should not
wait for an event loop, and one that only connects not for a server.
"""

# Type checkers take this for true; ``typing`` itself would be most of what importing this costs.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from tellin import blocking as blocking
    from tellin.client.connect import connect as connect
    from tellin.client.connected import Connection as Connection
    from tellin.client.display import Display as Display
    from tellin.client.files.files import Files as Files
    from tellin.client.files.remote_file import RemoteFile as RemoteFile
    from tellin.client.forwarding.forwards import Forwarding as Forwarding
    from tellin.client.forwarding.remote_forwardings import Listener as Listener
    from tellin.client.forwarding.streams import Stream as Stream
    from tellin.client.hosts.host_keys import HostKeyPolicy as HostKeyPolicy
    from tellin.client.pool import Pool as Pool
    from tellin.client.questions import HostKeyQuestion as HostKeyQuestion
    from tellin.client.sessions.process import Completed as Completed
    from tellin.client.sessions.process import Process as Process
    from tellin.client.tunnel import Tunnel as Tunnel
    from tellin.client.tunnel import TunnelState as TunnelState
    from tellin.config.known_hosts import KnownHosts as KnownHosts
    from tellin.errors import AuthenticationFailed as AuthenticationFailed
    from tellin.errors import ChannelRefused as ChannelRefused
    from tellin.errors import CommandFailed as CommandFailed
    from tellin.errors import ConfigError as ConfigError
    from tellin.errors import ConnectFailed as ConnectFailed
    from tellin.errors import ConnectionLost as ConnectionLost
    from tellin.errors import Disconnected as Disconnected
    from tellin.errors import HostKeyChanged as HostKeyChanged
    from tellin.errors import HostKeyRejected as HostKeyRejected
    from tellin.errors import HostKeyRevoked as HostKeyRevoked
    from tellin.errors import HostKeyUnknown as HostKeyUnknown
    from tellin.errors import KeyFileError as KeyFileError
    from tellin.errors import NegotiationFailed as NegotiationFailed
    from tellin.errors import ProtocolError as ProtocolError
    from tellin.errors import RequestRefused as RequestRefused
    from tellin.errors import SftpError as SftpError
    from tellin.errors import SignatureFailed as SignatureFailed
    from tellin.errors import TellinError as TellinError
    from tellin.errors import TimedOut as TimedOut
    from tellin.errors import UsageError as UsageError
    from tellin.errors import WrongPassphrase as WrongPassphrase
    from tellin.keys import PrivateKey as PrivateKey
    from tellin.keys import PublicKey as PublicKey
    from tellin.keys import Signer as Signer
    from tellin.keys import load_private_key as load_private_key
    from tellin.keys import load_public_key as load_public_key
    from tellin.protocol.core import KeepAlive as KeepAlive
    from tellin.runtime.channel_streams import Reader as Reader
    from tellin.runtime.channel_streams import Writer as Writer
    from tellin.runtime.redirection import Redirect as Redirect
    from tellin.server.authentication.admission import Candidate as Candidate
    from tellin.server.files.fsspec_files import FsspecFiles as FsspecFiles
    from tellin.server.files.memory_files import MemoryFiles as MemoryFiles
    from tellin.server.files.quota_files import QuotaFiles as QuotaFiles
    from tellin.server.files.rooted_files import RootedFiles as RootedFiles
    from tellin.server.serve import Server as Server
    from tellin.server.serve import serve as serve
    from tellin.server.sessions.process import ServerProcess as ServerProcess
    from tellin.server.sessions.process import Terminal as Terminal
    from tellin.server.sessions.programs import RunCommands as RunCommands
    from tellin.server.sessions.subsystem import ServeFiles as ServeFiles

_HOMES = {
    "tellin.client.connect": ("connect",),
    "tellin.client.connected": ("Connection",),
    "tellin.client.display": ("Display",),
    "tellin.client.files.files": ("Files",),
    "tellin.client.forwarding.forwards": ("Forwarding",),
    "tellin.client.hosts.host_keys": ("HostKeyPolicy",),
    "tellin.client.pool": ("Pool",),
    "tellin.client.sessions.process": ("Completed", "Process"),
    "tellin.client.questions": ("HostKeyQuestion",),
    "tellin.client.files.remote_file": ("RemoteFile",),
    "tellin.client.forwarding.remote_forwardings": ("Listener",),
    "tellin.client.forwarding.streams": ("Stream",),
    "tellin.client.tunnel": ("Tunnel", "TunnelState"),
    "tellin.config.known_hosts": ("KnownHosts",),
    "tellin.errors": (
        "AuthenticationFailed",
        "ChannelRefused",
        "CommandFailed",
        "ConfigError",
        "ConnectFailed",
        "ConnectionLost",
        "Disconnected",
        "HostKeyChanged",
        "HostKeyRejected",
        "HostKeyRevoked",
        "HostKeyUnknown",
        "KeyFileError",
        "NegotiationFailed",
        "ProtocolError",
        "RequestRefused",
        "SftpError",
        "SignatureFailed",
        "TellinError",
        "TimedOut",
        "UsageError",
        "WrongPassphrase",
    ),
    "tellin.keys": ("PrivateKey", "PublicKey", "Signer", "load_private_key", "load_public_key"),
    "tellin.protocol.core": ("KeepAlive",),
    "tellin.runtime.channel_streams": ("Reader", "Writer"),
    "tellin.runtime.redirection": ("Redirect",),
    "tellin.server.authentication.admission": ("Candidate",),
    "tellin.server.files.fsspec_files": ("FsspecFiles",),
    "tellin.server.files.memory_files": ("MemoryFiles",),
    "tellin.server.sessions.process": ("ServerProcess", "Terminal"),
    "tellin.server.sessions.programs": ("RunCommands",),
    "tellin.server.files.quota_files": ("QuotaFiles",),
    "tellin.server.files.rooted_files": ("RootedFiles",),
    "tellin.server.serve": ("Server", "serve"),
    "tellin.server.sessions.subsystem": ("ServeFiles",),
}


__all__ = [
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
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "blocking":
        return import_module("tellin.blocking")
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'tellin' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
