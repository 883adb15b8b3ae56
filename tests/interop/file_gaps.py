# SPDX-License-Identifier: MIT
"""What clients and servers that move files cannot do, each with the reason: the holes of the table in ``file_deeds``.

What is ``tried`` is done all the same and has to fail, so that the day it works is noticed; for the rest there is
no command that could be tried.
"""

from collections.abc import Mapping
from dataclasses import dataclass

NO_COMMAND = "it has no command for it"
ONLY_COPIES = "it copies files and does no more"
A_LINE = "a command is a line"
RCP = "a name's line ends where the name does"
TEXT = "names are text to it"
RENAME = "it knows RENAME alone, which takes nobody's place"
BACKSLASH = "it takes a backslash for what divides a path"
LETTERS = "it has letters of its own for it"


@dataclass(frozen=True)
class Gap:
    """What a client (at any server) or a server (for any client of tellin's) cannot do."""

    rows: tuple[str, ...]
    reason: str
    tried: bool = False


MORE_THAN_COPIES = (
    "list",
    "resume get",
    "resume put",
    "rename over",
    "symbolic link",
    "read link",
    "hard link",
    "modes",
    "folders",
    "copy there",
    "room",
)
TREES = ("get tree", "put tree", "odd tree")

CLIENTS: Mapping[str, tuple[Gap, ...]] = {
    "sftp": (Gap(("read link",), NO_COMMAND),),
    "scp": (Gap(MORE_THAN_COPIES, ONLY_COPIES),),
    "scp -O": (Gap(MORE_THAN_COPIES, ONLY_COPIES),),
    "psftp": (
        Gap(("symbolic link", "read link", "hard link", "copy there", "room"), NO_COMMAND),
        Gap(("keep up", "keep down"), "it keeps no times"),
        Gap(("rename over",), RENAME, tried=True),
    ),
    "pscp": (Gap(MORE_THAN_COPIES[1:], ONLY_COPIES),),
    "pscp -scp": (Gap(MORE_THAN_COPIES, ONLY_COPIES),),
    "curl sftp": (
        Gap(TREES, "it moves one file at a time"),
        Gap(("read link", "hard link", "copy there"), NO_COMMAND),
        Gap(("keep up",), "it sets no times but those that it is told"),
        Gap(("rename over",), RENAME, tried=True),
    ),
    "curl scp": (
        Gap(MORE_THAN_COPIES, ONLY_COPIES),
        Gap(TREES, "it moves one file at a time"),
        Gap(("keep up",), "it sets no times but those that it is told"),
        Gap(("keep down",), "it asks for no times", tried=True),
    ),
    "lftp": (
        Gap(("read link", "copy there", "room"), NO_COMMAND),
        Gap(("keep up",), "it keeps times in mirrors alone"),
        Gap(("rename over",), RENAME, tried=True),
        Gap(("hard link",), "it makes none over SFTP", tried=True),
    ),
    "rclone": (
        Gap(("symbolic link", "read link", "hard link", "modes"), NO_COMMAND),
        Gap(("resume get", "resume put"), "it begins again"),
        Gap(("copy there",), "it asks for no copies there"),
    ),
    "sshfs": (Gap(("copy there",), "the kernel asks it for no copies"),),
    "paramiko": (
        Gap(TREES, "it knows no trees"),
        Gap(("hard link", "copy there", "room"), NO_COMMAND),
        Gap(("keep down",), "it leaves that to its caller"),
    ),
    "asyncssh": (),
    "asyncssh scp": (Gap(MORE_THAN_COPIES, "its scp copies files and does no more"),),
    "ssh2-python": (
        Gap(TREES, "it knows no trees"),
        Gap(("read link", "hard link", "copy there"), NO_COMMAND),
        Gap(("keep down",), "it leaves that to its caller"),
        Gap(("rename over",), RENAME, tried=True),
    ),
    "parallel-ssh": (Gap((*MORE_THAN_COPIES, "keep up", "keep down"), ONLY_COPIES),),
    "ssh2": (
        Gap(TREES, "it knows no trees"),
        Gap(("keep down",), "it leaves that to its caller"),
    ),
    "ssh2-sftp-client": (
        Gap(("symbolic link", "read link", "hard link", "copy there", "room"), NO_COMMAND),
        Gap(("keep up", "keep down"), "it keeps no times"),
        Gap(("resume get",), "it begins again"),
    ),
    "tellin": (),
    "tellin sftp": (Gap(("read link",), NO_COMMAND),),
    "tellin scp": (Gap(MORE_THAN_COPIES, ONLY_COPIES),),
    "tellin scp -O": (Gap(MORE_THAN_COPIES, ONLY_COPIES),),
}

SERVERS: Mapping[str, tuple[Gap, ...]] = {
    "sshd": (),
    "dropbear": (),
    "asyncssh": (),
    "paramiko": (
        Gap(("hard link",), "it has no hardlink@openssh.com", tried=True),
        Gap(("room",), "it has no statvfs@openssh.com", tried=True),
    ),
    "ssh2": (
        Gap(("hard link",), "it has no hardlink@openssh.com", tried=True),
        Gap(("room",), "it has no statvfs@openssh.com", tried=True),
    ),
    "tellin": (),
}

NEWLINE, NO_UTF8, QUOTES, PATTERN = b"line\nend", b"\xff\xfe", b"'\"quo\\te", b"[x]*?"

# What needs both.
PAIRS: dict[tuple[str, str], tuple[Gap, ...]] = {
    ("tellin", "paramiko"): (
        Gap(("rename over",), "it does not say that it has posix-rename@openssh.com", tried=True),
    ),
    **{
        (client, "ssh2"): (
            Gap(("rename over",), "it has no posix-rename@openssh.com", tried=True),
        )
        for client in ("tellin", "tellin sftp")
    },
}
# Its scp, and not the host's, is at the other end.
PAIRS_ODD: Mapping[tuple[str, str], Mapping[bytes, str]] = {
    ("tellin scp -O", "asyncssh"): {QUOTES: BACKSLASH, NO_UTF8: "a command is UTF-8 to it"},
}
PAIRS_ODD_IN_TREES: Mapping[tuple[str, str], Mapping[bytes, str]] = {
    ("tellin scp -O", "asyncssh"): {QUOTES: BACKSLASH},
}
for server in ("paramiko", "ssh2"):
    # The library takes the bytes here and back.
    PAIRS["tellin sftp", server] = (
        *PAIRS.get(("tellin sftp", server), ()),
        Gap(("copy there",), "it has no copy-data", tried=True),
    )

# Names that get lost: where they are written in a command.
CLIENTS_ODD: Mapping[str, Mapping[bytes, str]] = {
    "sftp": {NEWLINE: A_LINE},
    "scp -O": {NEWLINE: RCP},
    "psftp": {NEWLINE: A_LINE},
    "pscp -scp": {NEWLINE: RCP},
    "curl scp": {NEWLINE: RCP},
    "lftp": {NEWLINE: A_LINE},
    "asyncssh scp": {NEWLINE: RCP, QUOTES: BACKSLASH, PATTERN: "a name here is a pattern to it"},
    "ssh2-python": {NO_UTF8: TEXT},
    "parallel-ssh": {NO_UTF8: TEXT},
    "ssh2": {NO_UTF8: TEXT},
    "ssh2-sftp-client": {NO_UTF8: TEXT},
    "tellin sftp": {NEWLINE: A_LINE},
    "tellin scp -O": {NEWLINE: RCP},
}
# And in a tree, where nobody has to write them.
CLIENTS_ODD_IN_TREES: Mapping[str, Mapping[bytes, str]] = {
    "scp -O": {NEWLINE: RCP},
    "pscp": {QUOTES: BACKSLASH},
    "pscp -scp": {NEWLINE: RCP, QUOTES: BACKSLASH},
    "tellin scp -O": {NEWLINE: RCP},
    "rclone": {NEWLINE: LETTERS, NO_UTF8: LETTERS},
    "asyncssh": {QUOTES: BACKSLASH},
    "asyncssh scp": {NEWLINE: RCP, QUOTES: BACKSLASH},
    "parallel-ssh": {NO_UTF8: TEXT, NEWLINE: "a listing is lines to it"},
    "ssh2-sftp-client": {NO_UTF8: TEXT},
}
# Over SFTP.
SERVERS_ODD: Mapping[str, Mapping[bytes, str]] = {
    "paramiko": {NO_UTF8: TEXT},
    "ssh2": {NO_UTF8: TEXT},
}
# Servers that run no commands, so that nothing of before SFTP is to be had there.
NO_RCP = ("ssh2",)
