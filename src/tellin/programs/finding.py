# SPDX-License-Identifier: MIT
"""Finds the modules of this package by their names, where Python would search for each of them.

A program of ours loads a hundred modules, and the search is a tenth of its start: it asks whoever
might know a module, looks at the folder again, tries the names of compiled modules, and reads the
bytecode in ways that suit any kind of file. Here the place follows from the name. Whether bytecode
counts is for Python's own loader to say, and what is not found here is searched for as ever.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType


class _Loader(SourceFileLoader):
    """Python's own, for a file that has just been looked at."""

    def __init__(self, fullname: str, path: str, status: os.stat_result) -> None:
        super().__init__(fullname, path)
        self._stats = {"mtime": status.st_mtime, "size": status.st_size}

    def path_stats(self, path: str) -> dict[str, float]:
        """What bytecode is compared with."""
        return self._stats

    def get_data(self, path: str) -> bytes:
        """All of a file."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)


class Finder:
    """A finder for `sys.meta_path`; ``ending`` is what the names of bytecode files end in."""

    def __init__(self, package: str, ending: str) -> None:
        self._prefix = f"{package}."
        self._ending = ending

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a module of the package is, if it is a file, or a folder with a file for itself."""
        if not path or not fullname.startswith(self._prefix):
            return None
        folder, name = path[0], fullname.rpartition(".")[2]
        within = f"{folder}/{name}"
        # A room has no file of its name beside it, and most modules are no rooms.
        return self._at(fullname, folder, name) or self._at(fullname, within, "__init__")

    def _at(self, fullname: str, folder: str, name: str) -> ModuleSpec | None:
        source = f"{folder}/{name}.py"
        try:
            status = os.stat(source)  # noqa: PTH116 - a str, and a path would cost what is saved
        except OSError:
            return None
        package = name == "__init__"
        loader = _Loader(fullname, source, status)
        spec = ModuleSpec(fullname, loader, origin=source, is_package=package)
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(folder)
        spec.has_location = True
        spec.cached = f"{folder}/__pycache__/{name}{self._ending}"
        return spec


def find_by_name(package: ModuleType) -> None:
    """Do so for ``package`` from here on, if it lies in files and its bytecode beside them."""
    spec = package.__spec__
    if spec is None or type(spec.loader) is not SourceFileLoader or spec.cached is None:
        return
    beside = f"{package.__path__[0]}/__pycache__/__init__"
    if spec.cached.startswith(beside):
        sys.meta_path.insert(0, Finder(spec.name, spec.cached.removeprefix(beside)))
