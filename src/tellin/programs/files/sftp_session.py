# SPDX-License-Identifier: MIT
"""One talk of sftp: where it is, here and there, and what each command does."""

# Paths are bytes, as they are: pathlib takes none.
# ruff: noqa: PTH102, PTH109, PTH111, PTH116, PTH207

import glob
import os
import sys
import time
from collections.abc import Callable
from os.path import expanduser
from typing import Final

from tellin.errors import SftpError, UsageError
from tellin.programs.command import say_error
from tellin.programs.files.copying import Copier, Manner
from tellin.programs.files.link import FileLink, reason
from tellin.programs.files.meter import Meter
from tellin.programs.files.places import is_directory, is_there, joined, last_name, shown
from tellin.programs.files.scp_names import alternatives
from tellin.programs.files.sftp_lines import HELP, Line
from tellin.programs.files.sftp_listing import Shown, columns, long_line, ordered, room, view_of
from tellin.runtime.terminal import window_size
from tellin.sftp import messages
from tellin.sftp.attributes import Attributes
from tellin.sftp.globs import escaped, has_magic, unescaped
from tellin.sftp.messages import Extension, Names, SymbolicLink
from tellin.sftp.remote_files import RemoteFiles, TooManyEntries
from tellin.wire import Cursor, Record

_FAILED: Final = False


class Habits(Record):
    """What the command line says of every copy, and of what is shown."""

    preserve: bool = False
    recursive: bool = False
    resume: bool = False
    sync: bool = False
    quiet: bool = False


class Quit(Exception):
    """Somebody has had enough."""


def complain(text: str) -> None:
    """Say what went wrong."""
    sys.stdout.flush()
    say_error(text)


def say(text: str) -> None:
    """Show something."""
    print(text, flush=True)


class Session:
    """What commands do; each gives whether it went well."""

    def __init__(self, link: FileLink, habits: Habits, *, meter: Meter) -> None:
        self.link = link
        self.files = link.files
        self.habits = habits
        self.meter = meter
        # As in OpenSSH's, a name is asked for once.
        self._users: dict[int, str] = {}
        self._groups: dict[int, str] = {}
        self.start = self.where = link.wait(self.files.real_path(b"."))

    def obey(self, line: Line) -> bool:
        """Do what a line says; Quit where that is to end."""
        self.link.interrupted = False
        deed: Callable[[Line], bool] = getattr(self, f"_do_{line.deed}")
        try:
            return deed(line)
        except (SftpError, UsageError) as error:
            complain(str(error))
            return _FAILED

    # Where things are

    def absolute(self, path: bytes) -> bytes:
        """A path there, from the root on."""
        return path if path.startswith(b"/") else joined(self.where, path)

    def absolute_pattern(self, pattern: bytes) -> bytes:
        """The same for a pattern: where we are is none."""
        return pattern if pattern.startswith(b"/") else joined(escaped(self.where), pattern)

    def _found(self, pattern: bytes) -> list[bytes]:
        """What fits there; what is no pattern, and is not there, stands for itself."""
        whole = self.absolute_pattern(pattern)
        found = self.link.wait(self.files.glob(whole))
        return found or [unescaped(whole)]

    def _copier(self, line: Line, *, resume: bool) -> Copier:
        habits, flags = self.habits, line.flags
        manner = Manner(
            preserve=habits.preserve or "p" in flags or "P" in flags,
            resume=resume,
            sync=habits.sync or "f" in flags,
            tells=True,
        )
        return Copier(self.link, manner, meter=self.meter, complain=complain, say=say)

    def _ask(self, request: messages.Request, path: bytes, what: str) -> bool:
        """Ask for one thing; ``what`` stands in front of the reason why not."""
        try:
            self.link.ask(request, path)
        except SftpError as error:
            complain(f"{what}: {reason(error)}")
            return _FAILED
        return True

    def _offered(self, kind: type[Extension]) -> bool:
        if not self.link.client.offers(kind):
            complain(f"Server does not support {shown(kind.key)} extension")
            return _FAILED
        return True

    # Files

    def _do_get(self, line: Line) -> bool:
        return self._get(line, resume="a" in line.flags or self.habits.resume)

    def _do_reget(self, line: Line) -> bool:
        return self._get(line, resume=True)

    def _get(self, line: Line, *, resume: bool) -> bool:
        whole = self.absolute_pattern(line.patterns[0])
        target = line.paths[1] if len(line.paths) > 1 else None
        found = self.link.wait(self.files.glob(whole))
        if not found:
            complain(f'File "{shown(whole)}" not found.')
            return _FAILED
        inside = target is not None and is_directory(target)
        if len(found) > 1 and target is not None and not inside:
            complain(
                f'Multiple source paths, but destination "{shown(target)}" is not a directory'
            )
            return _FAILED
        # R173: of what is asked for the last name alone.
        pairs = [
            (path, target if target and not inside else joined(target or b"", last_name(path)))
            for path in found
        ]
        if not self.habits.quiet:
            what = "Resuming" if resume else "Fetching"
            for path, local in pairs:
                say(f"{what} {shown(path)} to {shown(local)}")
        recursive = self._recursive(line)
        return self._copier(line, resume=resume).download(pairs, recursive=recursive)

    def _recursive(self, line: Line) -> bool:
        return self.habits.recursive or "r" in line.flags or "R" in line.flags

    def _do_put(self, line: Line) -> bool:
        return self._put(line, resume="a" in line.flags or self.habits.resume)

    def _do_reput(self, line: Line) -> bool:
        return self._put(line, resume=True)

    def _put(self, line: Line, *, resume: bool) -> bool:
        found = local_matches(line.patterns[0])
        target = self.absolute(line.paths[1]) if len(line.paths) > 1 else None
        copier = self._copier(line, resume=resume)
        inside = target is not None and copier.is_directory(target)
        if len(found) > 1 and target is not None and not inside:
            complain(f'Multiple paths match, but destination "{shown(target)}" is not a directory')
            return _FAILED
        right, pairs = True, []
        for path in found:
            if not is_there(path):
                complain(f"stat {shown(path)}: No such file or directory")
                right = _FAILED
                continue
            there = (
                target if target and not inside else joined(target or self.where, last_name(path))
            )
            pairs.append((path, there))
            if not self.habits.quiet:
                what = "Resuming upload of" if resume else "Uploading"
                say(f"{what} {shown(path)} to {shown(there)}")
        if resume and not self._all_there(copier, pairs):
            return _FAILED
        return (not pairs or copier.upload(pairs, recursive=self._recursive(line))) and right

    def _all_there(self, copier: Copier, pairs: list[tuple[bytes, bytes]]) -> bool:
        """Whether there is something of each to go on with."""
        for source, target in pairs:
            found = copier.look(target)
            if found is None:
                complain("stat remote: No such file or directory")
                return _FAILED
            if found.is_file and (found.size or 0) >= os.stat(source).st_size:
                # Case 261: either it is whole, or it is no beginning of this one.
                complain(f'resume "{shown(source)}": destination file same size or larger')
                return _FAILED
        return True

    def _do_copy(self, line: Line) -> bool:
        if not self._offered(messages.CopyData):
            return _FAILED
        source, target = map(self.absolute, line.paths)
        copier = self._copier(line, resume=False)
        try:
            found = self.link.wait(self.files.stat(source))
        except SftpError as error:
            complain(f"stat remote: {reason(error)}")
            return _FAILED
        if not found.is_file:
            complain(f"Cannot copy non-regular file: {shown(source)}")
            return _FAILED
        return copier.relay(copier, [(source, target)], recursive=False)

    # Names

    def _do_rename(self, line: Line) -> bool:
        old, new = map(self.absolute, line.paths)
        replaces = "l" not in line.flags and self.link.client.offers(messages.PosixRename)
        kind = messages.PosixRename if replaces else messages.Rename
        return self._ask(kind(old, new), old, f'remote rename "{shown(old)}" to "{shown(new)}"')

    def _do_ln(self, line: Line) -> bool:
        if "s" in line.flags:
            return self._do_symlink(line)
        if not self._offered(messages.HardLink):
            return _FAILED
        old, new = map(self.absolute, line.paths)
        what = f'remote link "{shown(old)}" to "{shown(new)}"'
        return self._ask(messages.HardLink(old, new), old, what)

    def _do_symlink(self, line: Line) -> bool:
        # What a link says is its own affair: it is not made absolute.
        old, new = line.paths[0], self.absolute(line.paths[1])
        try:
            self.link.wait(_make_link(self.files, old, new))
        except SftpError as error:
            complain(f'remote symlink file "{shown(old)}" to "{shown(new)}": {reason(error)}')
            return _FAILED
        return True

    def _do_rm(self, line: Line) -> bool:
        right = True
        for path in self._found(line.patterns[0]):
            if not self.habits.quiet:
                say(f"Removing {shown(path)}")
            right &= self._ask(messages.Remove(path), path, f"remote delete {shown(path)}")
            if self._stops(line, right=right):
                break
        return right

    def _stops(self, line: Line, *, right: bool) -> bool:
        """Whether the others are left alone."""
        return self.link.interrupted or (self.habits.quiet and not right and not line.forgiven)

    def _do_mkdir(self, line: Line) -> bool:
        path = self.absolute(line.paths[0])
        wanted = messages.MakeDirectory(path, Attributes(permissions=0o777))
        return self._ask(wanted, path, f'remote mkdir "{shown(path)}"')

    def _do_rmdir(self, line: Line) -> bool:
        path = self.absolute(line.paths[0])
        return self._ask(messages.RemoveDirectory(path), path, f'remote rmdir "{shown(path)}"')

    # What belongs to a file

    def _do_chmod(self, line: Line) -> bool:
        attributes = Attributes(permissions=line.number)
        return self._change(line, "Changing mode on", lambda _found: attributes)

    def _do_chown(self, line: Line) -> bool:
        return self._change(
            line,
            "Changing owner on",
            lambda found: Attributes(uid=line.number, gid=found.gid),
        )

    def _do_chgrp(self, line: Line) -> bool:
        return self._change(
            line,
            "Changing group on",
            lambda found: Attributes(uid=found.uid, gid=line.number),
        )

    def _change(self, line: Line, what: str, make: Callable[[Attributes], Attributes]) -> bool:
        itself = "h" in line.flags
        if itself and not self._offered(messages.LinkSetStat):
            return _FAILED
        right = True
        for path in self._found(line.patterns[0]):
            right &= self._change_one(path, what, make, itself=itself)
            if self._stops(line, right=right):
                break
        return right

    def _change_one(
        self, path: bytes, what: str, make: Callable[[Attributes], Attributes], *, itself: bool
    ) -> bool:
        known = Attributes()
        if what != "Changing mode on":
            try:
                known = self.link.wait(self.files.stat(path, follow=not itself))
            except SftpError as error:
                complain(f"stat remote: {reason(error)}")
                return _FAILED
            if known.uid is None:
                complain(f'Can\'t get current ownership of remote file "{shown(path)}"')
                return _FAILED
        if not self.habits.quiet:
            say(f"{what} {shown(path)}")
        kind = messages.LinkSetStat if itself else messages.SetStat
        return self._ask(kind(path, make(known)), path, f'remote setstat "{shown(path)}"')

    # Where we are

    def _do_cd(self, line: Line) -> bool:
        wanted = self.absolute(line.paths[0]) if line.patterns else self.start
        try:
            path = self.link.wait(self.files.real_path(wanted))
        except SftpError as error:
            complain(f"realpath {shown(wanted)}: {reason(error)}")
            return _FAILED
        try:
            found = self.link.wait(self.files.stat(path))
        except SftpError as error:
            complain(f"stat remote: {reason(error)}")
            return _FAILED
        if found.permissions is None:
            complain("Can't change directory: Can't check target")
            return _FAILED
        if not found.is_directory:
            complain(f'Can\'t change directory: "{shown(path)}" is not a directory')
            return _FAILED
        self.where = path
        return True

    def _do_pwd(self, line: Line) -> bool:
        say(f"Remote working directory: {shown(self.where)}")
        return True

    def _do_lpwd(self, line: Line) -> bool:
        say(f"Local working directory: {shown(os.getcwdb())}")
        return True

    def _do_lcd(self, line: Line) -> bool:
        path = expanduser(line.paths[0] if line.patterns else b"~")
        try:
            os.chdir(path)
        except OSError as error:
            complain(f'Couldn\'t change local directory to "{shown(path)}": {error.strerror}')
            return _FAILED
        return True

    def _do_lmkdir(self, line: Line) -> bool:
        path = line.paths[0]
        try:
            os.mkdir(path)
        except OSError as error:
            complain(f'Couldn\'t create local directory "{shown(path)}": {error.strerror}')
            return _FAILED
        return True

    def _do_lumask(self, line: Line) -> bool:
        os.umask(line.number & 0o777)
        say(f"Local umask: {line.number & 0o777:03o}")
        return True

    def _do_lls(self, line: Line) -> bool:
        return self._do_shell(Line("shell", rest=b"ls " + line.rest))

    def _do_shell(self, line: Line) -> bool:
        shell = os.environ.get("SHELL") or "/bin/sh"
        argv: list[str | bytes] = [shell, "-c", line.rest] if line.rest else [shell, "-i"]
        sys.stdout.flush()
        status = os.waitstatus_to_exitcode(
            os.waitpid(os.posix_spawnp(shell, argv, os.environ), 0)[1]
        )
        if status < 0:
            complain("Shell exited abnormally")
        elif status:
            complain(f"Shell exited with status {status}")
        # As with OpenSSH's a batch goes on: what a local command says is no transfer.
        return True

    # What is to be seen

    def _do_ls(self, line: Line) -> bool:
        view = view_of(line.flags)
        stripped = self.where
        if not line.patterns:
            return self._list(self.where, line, stripped)
        if line.patterns[0].startswith(b"/"):
            stripped = b""
        whole = self.absolute_pattern(line.patterns[0])
        found = self.link.wait(self._in_braces(whole))
        if not found:
            complain(f'Can\'t ls: "{shown(unescaped(whole))}" not found')
            return _FAILED
        entries = self.link.wait(self._looked_at(found))
        if len(entries) == 1 and entries[0].attributes.is_directory:
            return self._list(found[0], line, stripped)
        longest = max(len(shown(one.name)) for one in entries)
        for one in entries:
            slash = one.attributes.is_directory and not one.name.endswith(b"/")
            one.name = _without(one.name, stripped) + b"/" * slash
        self._show(ordered(entries, view), line, longest, spread=True)
        return True

    async def _in_braces(self, pattern: bytes) -> list[bytes]:
        """What fits; ``{a,b}`` is a pattern for ls alone, where no name has the braces itself."""
        found = await self.files.glob(pattern)
        if found or b"{" not in pattern:
            return found
        several = [await self.files.glob(one) for one in alternatives(pattern)]
        return sorted({path for some in several for path in some})

    async def _looked_at(self, paths: list[bytes]) -> list[Shown]:
        """What is known of paths, of links what they lead to; nothing of what has gone meanwhile."""
        known = await self.files.looks(paths, follow=False)
        links = [at for at, one in enumerate(known) if one is not None and one.is_link]
        followed = await self.files.looks([paths[at] for at in links])
        for at, one in zip(links, followed, strict=True):
            known[at] = one or known[at]
        return [Shown(path, one or Attributes()) for path, one in zip(paths, known, strict=True)]

    def _list(self, path: bytes, line: Line, stripped: bytes) -> bool:
        view = view_of(line.flags)
        try:
            listed = self.link.wait(self._entries(path, hidden=view.hidden))
        except TooManyEntries:
            raise
        except SftpError as error:
            complain(f'remote readdir("{shown(path)}"): {reason(error)}')
            return _FAILED
        entries = ordered(listed, view)
        longest = max((len(shown(one.name)) for one in entries), default=0)
        if path != stripped:
            longest += len(shown(_without(path, stripped))) + 1
        for one in entries:
            one.name = _without(joined(path, one.name), stripped)
        self._show(entries, line, longest)
        return True

    async def _entries(self, path: bytes, *, hidden: bool) -> list[Shown]:
        found = [Shown(one.filename, one.attributes) for one in await self.files.contents(path)]
        if not hidden:
            return [one for one in found if not one.name.startswith(b".")]
        for name in (b".", b".."):
            found.append(Shown(name, await self.files.stat(joined(path, name), follow=False)))
        return found

    def _show(
        self, entries: list[Shown], line: Line, longest: int, *, spread: bool = False
    ) -> None:
        view = view_of(line.flags)
        if view.long:
            if not view.numeric:
                self._learn_names(entries)
            now = time.time()
            for one in entries:
                say(
                    long_line(
                        one,
                        view,
                        users=lambda number: self._called(self._users, number, view.numeric),
                        groups=lambda number: self._called(self._groups, number, view.numeric),
                        now=now,
                    )
                )
            return
        names = [shown(one.name) for one in entries]
        if not view.single:
            size = window_size(0)
            width = size.columns if size else 0
            names = columns(names, longest=longest, width=width, spread=spread)
        for name in names:
            say(name)

    @staticmethod
    def _called(known: dict[int, str], number: int | None, numeric: bool) -> str:
        if number is None:
            return "?"
        return str(number) if numeric else known.get(number) or str(number)

    def _learn_names(self, entries: list[Shown]) -> None:
        """Ask what users and groups are called, where the server can tell."""
        if not self.link.client.offers(messages.UsersGroupsById):
            return
        known = [one.attributes for one in entries]
        users = sorted({one.uid for one in known if one.uid is not None} - {*self._users})
        groups = sorted({one.gid for one in known if one.gid is not None} - {*self._groups})
        if not users and not groups:
            return
        request = messages.UsersGroupsById(_numbers(users), _numbers(groups))
        try:
            reply = Names.decode(self.link.ask(request).contents)
        except SftpError:
            return
        self._users.update(zip(users, _texts(reply.users), strict=False))
        self._groups.update(zip(groups, _texts(reply.groups), strict=False))

    def _do_df(self, line: Line) -> bool:
        if not self._offered(messages.StatFileSystem):
            return _FAILED
        path = self.absolute(line.paths[0]) if line.patterns else self.where
        try:
            found = self.link.wait(self.files.room(path))
        except SftpError as error:
            complain(f'remote statvfs "{shown(path)}": {reason(error)}')
            return _FAILED
        for text in room(found, inodes="i" in line.flags, human="h" in line.flags):
            say(text)
        return True

    def _do_version(self, line: Line) -> bool:
        say(f"SFTP protocol version {messages.VERSION}")
        return True

    def _do_progress(self, line: Line) -> bool:
        self.meter.shown = not self.meter.shown
        say(f"Progress meter {'enabled' if self.meter.shown else 'disabled'}")
        return True

    def _do_help(self, line: Line) -> bool:
        say(HELP)
        return True

    def _do_quit(self, line: Line) -> bool:
        raise Quit


async def _make_link(files: RemoteFiles, target: bytes, link: bytes) -> None:
    """Make a symbolic link at a server of which nobody has told us who it is.

    OpenSSH's order of the two paths is tried first. What a server of the draft's order makes of it,
    a link the other way round or a complaint about what is there, is found out and put right.
    """
    there = await files.find(target, follow=False)
    try:
        await files.ask(SymbolicLink(target, link), link)
    except SftpError:
        if there is None or await files.find(link, follow=False) is not None:
            raise
        # Where this server were OpenSSH's, it could not do harm either: the target is there.
        await files.ask(SymbolicLink(link, target), link)
        return
    if there is None and await files.find(link, follow=False) is None:
        if await files.read_link(target) == link:
            await files.ask(messages.Remove(target), target)
            await files.ask(SymbolicLink(link, target), link)


def _without(path: bytes, start: bytes) -> bytes:
    """A path without where we are."""
    if not start:
        return path
    kept = start if start.endswith(b"/") else start + b"/"
    return path.removeprefix(kept) if path != start else path


def _numbers(numbers: list[int]) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


def _texts(data: bytes) -> list[str]:
    cursor = Cursor(data)
    found = []
    while cursor.remaining():
        found.append(shown(cursor.string()))
    return found


def local_matches(pattern: bytes) -> list[bytes]:
    """The paths here that a pattern fits; one that fits none stands for itself."""
    if not has_magic(pattern):
        return [expanduser(unescaped(pattern))]
    return sorted(glob.glob(_as_python(expanduser(pattern)))) or [unescaped(pattern)]


def _as_python(pattern: bytes) -> bytes:
    """The same pattern for the standard library, which has brackets in place of backslashes."""
    made = bytearray()
    at = 0
    while at < len(pattern):
        letter = pattern[at : at + 1]
        if letter == b"\\" and at + 1 < len(pattern):
            at += 1
            letter = pattern[at : at + 1]
            made += b"[" + letter + b"]" if letter in {b"*", b"?", b"["} else letter
        else:
            made += letter
        at += 1
    return bytes(made)
