# SPDX-License-Identifier: MIT
"""The file transfer protocol, version 3 with OpenSSH's extensions, without I/O: both ends of a talk.

What programs see of it are attributes of files, entries of directories and the room in a file
system. ``FileSystem`` is what anybody can write who has something like files to serve;
``tellin.sftp.client`` and ``tellin.sftp.server`` are the two half-machines.
"""

from tellin.sftp.attributes import Attributes
from tellin.sftp.file_system import FileSystem, Listing, OpenFile
from tellin.sftp.messages import Entry, Statistics
from tellin.sftp.status import StatusCode

__all__ = [
    "Attributes",
    "Entry",
    "FileSystem",
    "Listing",
    "OpenFile",
    "Statistics",
    "StatusCode",
]
