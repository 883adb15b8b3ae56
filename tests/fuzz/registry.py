# SPDX-License-Identifier: MIT
"""Which harness feeds which parser: the table that the fuzzers run and the house test holds complete."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz import (
    agents,
    cores,
    displays,
    file_transfer,
    files,
    key_material,
    messages,
    sharing,
)

HARNESSES = [
    *messages.HARNESSES,
    *files.HARNESSES,
    *key_material.HARNESSES,
    *agents.HARNESSES,
    *displays.HARNESSES,
    *file_transfer.HARNESSES,
    *cores.HARNESSES,
    *sharing.HARNESSES,
]

# What reads bytes or text that came from elsewhere calls itself one of these.
_FUNCTION = re.compile(r"(parse|decode|load|read|decompress|unpack)(_\w+)?")
_METHOD = re.compile(r"(parse|decode|load|read|from|decompress|unpack)(_\w+)?|thaw|received|feed")
_RAW = re.compile(r"\b(bytes|bytearray|memoryview|str|Cursor|Buffer)\b")


# What says where something lies is no input itself, nor is the user's own command line.
_PLACES = {"path", "name", "file", "filename", "descriptor", "arguments", "argv"}


def _raw(function: ast.FunctionDef, *, bound: bool) -> bool:
    """Whether the first argument is bytes or text."""
    arguments = [*function.args.posonlyargs, *function.args.args][bound:]
    if not arguments or arguments[0].arg in _PLACES or arguments[0].annotation is None:
        return False
    return bool(_RAW.search(ast.unparse(arguments[0].annotation)))


def _functions(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and _FUNCTION.fullmatch(node.name):
            if _raw(node, bound=False):
                yield node.name
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            if any("Protocol" in ast.unparse(base) for base in node.bases):
                continue  # an interface parses nothing
            for method in node.body:
                if not isinstance(method, ast.FunctionDef) or not _METHOD.fullmatch(method.name):
                    continue
                static = any("staticmethod" in ast.unparse(d) for d in method.decorator_list)
                if _raw(method, bound=not static):
                    yield f"{node.name}.{method.name}"


def find_parsers(package: Path) -> set[str]:
    """The public names below ``package`` that turn bytes or text into values, found without importing."""
    found = set()
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        found |= {f"{module}.{name}" for name in _functions(ast.parse(path.read_text("utf-8")))}
    return found
