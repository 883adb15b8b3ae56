# SPDX-License-Identifier: MIT
"""What running tunnels say of themselves: over a socket that their user alone can reach, and as lines for people."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tellin.errors import TellinError
from tellin.programs.command import visible
from tellin.runtime.files import make_private_directory
from tellin.runtime.listeners import Acceptor, listen_unix
from tellin.runtime.private_sockets import called_by_us
from tellin.runtime.sockets import Socket

DIRECTORY: Final = "TELLIN_RUNTIME_DIR"
_PREFIX: Final = "tunnel."
_PATIENCE: Final = 5.0
_LONGEST: Final = 4 << 20


def directories() -> list[Path]:
    """Where sockets may be, the first being where to make one: /run is root's, and others have their own."""
    given = os.environ.get(DIRECTORY)
    if given:
        return [Path(given)]
    uid = os.getuid()
    own = [Path(f"/run/user/{uid}/tellin"), Path(f"/tmp/tellin-{uid}")]  # noqa: S108 - looked at first
    if uid == 0:
        return [Path("/run/tellin"), *own]
    session = os.environ.get("XDG_RUNTIME_DIR")
    return list(dict.fromkeys([*([Path(session) / "tellin"] if session else []), *own]))


def _is_private(directory: Path) -> bool:
    """Whether nobody else can reach, or have made, what is in it (R159)."""
    try:
        found = directory.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.getuid()
        and not stat.S_IMODE(found.st_mode) & 0o077
    )


def own_directory() -> Path | None:
    """The first directory that is ours alone, or can be made so."""
    for directory in directories():
        with suppress(OSError):
            make_private_directory(str(directory))
        if _is_private(directory) and os.access(directory, os.W_OK):
            return directory
    return None


class StatusPlace:
    """A socket that tells whoever connects what ``describe`` returns; ``path`` is empty where none can be had."""

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        self.path = ""
        self._describe = describe
        self._acceptor: Acceptor | None = None
        self._telling: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Listen in the first directory that is ours alone, or can be made so."""
        directory = own_directory()
        if directory is None:
            return
        path = str(directory / f"{_PREFIX}{os.getpid()}")
        try:
            # One of the same number that was killed has left it behind.
            listening = listen_unix(path, unlink=True)
        except OSError:
            return
        self._acceptor = Acceptor(asyncio.get_running_loop(), listening, self._asked)
        self.path = path

    def _asked(self, stream: Socket, address: Any) -> None:
        # R159: also where somebody has opened the directory since.
        if not called_by_us(stream):
            stream.close()
            return
        task = asyncio.get_running_loop().create_task(self._tell(stream))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, stream: Socket) -> None:
        loop = asyncio.get_running_loop()
        with (
            socket.socket(fileno=stream.detach()) as line,
            suppress(OSError, TimeoutError),
        ):
            line.setblocking(False)
            async with asyncio.timeout(_PATIENCE):
                await loop.sock_sendall(line, json.dumps(self._describe()).encode())

    def close(self) -> None:
        """Leave nothing behind."""
        if self._acceptor is not None:
            self._acceptor.close()
            with suppress(OSError):
                os.unlink(self.path)  # noqa: PTH108 - made by this name


def running() -> list[dict[str, Any]]:
    """The tunnels of all programs of ours that run; each has the ``pid`` of its program."""
    found: list[dict[str, Any]] = []
    for directory in directories():
        if not _is_private(directory):
            continue
        for path in sorted(directory.glob(f"{_PREFIX}*")):
            said = _ask(path)
            if isinstance(said, dict) and isinstance(said.get("tunnels"), list):
                found += ({"pid": said.get("pid"), **one} for one in said["tunnels"])
    return found


def _ask(path: Path) -> Any:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_PATIENCE)
        data = bytearray()
        try:
            line.connect(str(path))
            while piece := line.recv(65536):
                data += piece
                if len(data) > _LONGEST:
                    return None
        except ConnectionRefusedError:
            # Whoever made it was killed.
            with suppress(OSError):
                path.unlink()
            return None
        except OSError:
            return None
    try:
        return json.loads(data)
    except ValueError:
        return None


# --- for people ----------------------------------------------------------------------------------


def lines(tunnels: Sequence[dict[str, Any]]) -> Iterable[str]:
    """A line for each tunnel, and one for each thing that it forwards."""
    names = max((len(one["name"]) for one in tunnels), default=0)
    for one in tunnels:
        yield visible(f"{one['name']:{names}}  {one['state']:10}  {_detail(one)}")
        for forward in one["forwards"]:
            arrow = "<-" if forward["kind"] == "remote" else "->"
            fault = f"  ({forward['error']})" if forward.get("error") else ""
            yield visible(f"{'':{names}}    {forward['listen']} {arrow} {forward['to']}{fault}")


def _detail(one: dict[str, Any]) -> str:
    parts = [f"for {duration(one['seconds'])}"]
    if one["state"] == "up":
        parts.append(f"{one['user']}@{one['address']} port {one['port']}")
        parts.append(f"{one['open']} open")
    elif one["next_try"] is not None:
        parts.append(f"next try in {duration(one['next_try'])}")
    if one["error"]:
        parts.append(one["error"])
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Two figures of it: ``3 s``, ``2 min 5 s``, ``4 h 10 min``, ``3 d 2 h``."""
    left = round(seconds)
    parts: list[str] = []
    for name, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or (parts and len(parts) < 2) or (name == "s" and not parts):
            parts.append(f"{count} {name}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 ")) or "0 s"


def shown_error(error: BaseException | None) -> str:
    """An error in one line."""
    if error is None:
        return ""
    said = str(error) if isinstance(error, TellinError) else _system(error)
    return " ".join(said.split())


def _system(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"
