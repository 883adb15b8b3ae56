# SPDX-License-Identifier: MIT
"""The same library for programs without an event loop: one loop, in one thread behind the scenes.

    from tellin import blocking

    with blocking.connect("host", host_keys=HostKeyPolicy.STRICT) as connection:
        print(connection.run("uname -a").stdout)

Every method waits for what its coroutine in ``tellin`` would bring, and takes the same arguments.
The loop goes on between the calls, so a connection stays alive while the program does other things.
Functions that are asked (about a host key, for a password) or that output goes to are called in the
thread that waits, and never on the loop. Any thread may call, also several at once. Ctrl-C cancels
what is being waited for. A forked child has no connection of its parent's: using one there is an
error that says so, and closing one does nothing. What is open when the program ends is closed.
"""

from tellin.blocking.client import Connection, Forwarding, Listener, Process, Stream, connect
from tellin.blocking.files import Files, RemoteFile
from tellin.blocking.pool import Lease, Pool
from tellin.blocking.server import Server, ServerProcess, serve
from tellin.blocking.streams import Reader, Writer
from tellin.blocking.tunnel import Tunnel

__all__ = [
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
]
