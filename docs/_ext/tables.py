# SPDX-License-Identifier: MIT
"""Reference pages made of the code's own tables, so that they say what is there and nothing else.

Before each build ``docs/reference/generated`` is written anew: algorithms, keywords, messages,
phases, programs, errors and the public names.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx

import tellin
from tellin.config.keywords import Retired
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import CRITERIA as CLIENT_CRITERIA
from tellin.config.sshd_config import SshdConfig
from tellin.config.sshd_reading import CRITERIA as SERVER_CRITERIA
from tellin.errors import TellinError
from tellin.wire import Message

Page = Callable[[], Iterator[str]]


def modules() -> Iterator[ModuleType]:
    """Every module of tellin, imported."""
    for found in pkgutil.walk_packages(tellin.__path__, "tellin."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def tables(kind: str) -> Iterator[tuple[ModuleType, str, Any]]:
    """Every public module-level value whose class is called ``kind``, once, where it was made."""
    seen: set[int] = set()
    for module in modules():
        for name, value in vars(module).items():
            if name.startswith("_") or id(value) in seen or type(value).__name__ != kind:
                continue
            seen.add(id(value))
            yield module, name, value


def subclasses(base: type) -> Iterator[type]:
    for kind in base.__subclasses__():
        yield kind
        yield from subclasses(kind)


def cell(value: object) -> str:
    """A value in a table."""
    text = value.value if isinstance(value, Enum) else value
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "\\<").replace("*", "\\*")


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    heads = list(heads)
    yield "| " + " | ".join(heads) + " |"
    yield "|" + " --- |" * len(heads)
    for row in rows:
        yield "| " + " | ".join(cell(value) for value in row) + " |"
    yield ""


def prose(thing: object) -> str:
    """A docstring as one paragraph or more of Markdown."""
    text = inspect.getdoc(thing) or ""
    return re.sub(r"(?<!`)([<*])(?!`)", r"\\\1", text)


def first(thing: object) -> str:
    return prose(thing).partition("\n\n")[0]


def algorithms() -> Iterator[str]:
    """What can be negotiated, best first."""
    yield "Everything here works; what stands there as *off* is offered only where it is named."
    yield "`+`, `-` and `^` before a list of names add to, take from and go before the defaults."
    yield ""
    for _, _, registry in tables("Registry"):
        yield f"## {registry.kind[0].upper()}{registry.kind[1:]}"
        yield ""
        rows = ((f"`{row.name}`", row.standing, row.source, row.doc) for row in registry)
        yield from table(("name", "offered", "source", "what it is"), rows)


def keywords() -> Iterator[str]:
    """What ``ssh_config`` and ``sshd_config`` may say, keyword by keyword, and what they may ask in Match."""
    yield "In a file a keyword's case does not matter. The first value counts, but for what may be given several"
    yield "times. A token is put in where the value is used: `%h` and the like, `${NAME}` for a variable, `~` for"
    yield "a home. What waits for something is read and shown, and nothing is done about it yet. `Host` (in"
    yield "`ssh_config`) and `Match` begin blocks, and `Include` reads more files in its place."
    yield ""
    for name, kind, criteria in (
        ("ssh_config", SshConfig, CLIENT_CRITERIA),
        ("sshd_config", SshdConfig, SERVER_CRITERIA),
    ):
        yield f"## {name}"
        yield ""
        yield f"{first(kind)} In Python it is `{kind.__module__}.{kind.__name__}`."
        yield ""
        for row in kind.rows.values():
            yield f"`{row.spelling}`"
            grammar, *notes = kind.notes(row)
            yield f": {cell(row.doc)} It takes {literal(grammar)}; {'; '.join(map(note, notes))}."
            yield ""
        yield f"### Match in {name}"
        yield ""
        yield from table(
            ("criterion", "argument"),
            ((f"`{one}`", "one" if takes else "none") for one, takes in criteria.items()),
        )
        yield f"### Words of old in {name}"
        yield ""
        yield "They stand in files that have outlived them, and nothing is done about them."
        yield ""
        gone = [found for found in kind.known.values() if isinstance(found, Retired)]
        rows = ((f"`{found.spelling}`", "is named" if found.warn else "is not") for found in gone)
        yield from table(("word", "in a warning"), rows)


def literal(grammar: str) -> str:
    """A grammar as code, whose words a reader may copy."""
    return f"`{grammar}`"


def note(text: str) -> str:
    """A note with its values as code."""
    word, _, rest = text.partition(" ")
    return f"{word} `{rest}`" if word in {"default", "tokens"} and rest else cell(text)


def messages() -> Iterator[str]:
    """Every message by number, with its fields in order."""
    by_module: dict[str, list[type[Message]]] = {}
    for _ in modules():
        continue
    for kind in subclasses(Message):
        if kind.__module__.startswith("tellin.") and kind.number is not None:
            by_module.setdefault(kind.__module__, []).append(kind)
    for name in sorted(by_module):
        yield f"## `{name}`"
        yield ""
        yield prose(importlib.import_module(name))
        yield ""
        rows = (
            (kind.number, f"`{kind.__name__}`", fields(kind), first(kind))
            for kind in sorted(by_module[name], key=lambda kind: (kind.number, kind.__name__))
        )
        yield from table(("number", "class", "fields", "what it says"), rows)


def fields(kind: type[Message]) -> str:
    return ", ".join(f"`{name}`" for name, _ in kind._layout)


def phases() -> Iterator[str]:
    """What the transport admits, phase by phase: the table that the code itself looks messages up in."""
    machine = importlib.import_module("tellin.transport.machine")
    yield "A message whose number is not in the row of the present phase is answered with"
    yield "UNIMPLEMENTED where RFC 4253 section 11.4 asks for that, and ends the connection where a"
    yield "message out of place can only be an attack."
    yield ""
    rows = (
        (f"`{phase.name}`", phase.value, spans(sorted(admitted)) or "none")
        for phase, admitted in machine.ADMISSION.items()
    )
    yield from table(("phase", "meaning", "message numbers admitted"), rows)


def spans(numbers: list[int]) -> str:
    shown: list[str] = []
    while numbers:
        end = 1
        while end < len(numbers) and numbers[end] == numbers[0] + end:
            end += 1
        shown.append(f"{numbers[0]}" if end == 1 else f"{numbers[0]}-{numbers[end - 1]}")
        numbers = numbers[end:]
    return ", ".join(shown)


def errors() -> Iterator[str]:
    """Every error that tellin raises; all are `TellinError`s and carry a `hint`."""
    rows = []
    for kind in (TellinError, *subclasses(TellinError)):
        if not kind.__module__.startswith("tellin.") or ".programs." in kind.__module__:
            continue
        above = ", ".join(f"`{base.__name__}`" for base in kind.__bases__)
        reason = getattr(kind, "reason", None)
        code = reason.name if isinstance(reason, Enum) else ""
        rows.append((f"`{kind.__name__}`", above, f"`{code}`" if code else "", first(kind)))
    yield from table(("error", "is a", "disconnect code", "meaning"), rows)


def programs() -> Iterator[str]:
    """What `tellin NAME` runs."""
    rows = [(f"`tellin {row.name}`", row.summary) for _, _, row in tables("Program")]
    yield from table(("program", "what it does"), sorted(rows))


def names() -> Iterator[str]:
    """What stays stable: the names of ``tellin`` itself, and what its rooms list in ``__all__``."""
    for module in (tellin, *modules()):
        public = getattr(module, "__all__", None)
        if not public or module.__name__.count(".") > 1:
            continue
        yield f"## `{module.__name__}`"
        yield ""
        yield prose(module)
        yield ""
        yield from table(
            ("name", "what it is"),
            ((f"`{name}`", described(getattr(module, name))) for name in sorted(public)),
        )


def described(value: object) -> str:
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        return first(value)
    shown = type(value).__name__
    return f"a {shown}" if shown != "Annotated" else "a field type"


PAGES: dict[str, tuple[str, Page]] = {
    "algorithms": ("Algorithms", algorithms),
    "keywords": ("Keywords", keywords),
    "messages": ("Messages", messages),
    "phases": ("Phases", phases),
    "errors": ("Errors", errors),
    "programs": ("Programs", programs),
    "names": ("Public names", names),
}


def write_pages(app: Sphinx) -> None:
    """Write what has changed; a page without rows is not there."""
    folder = Path(app.srcdir) / "reference" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, page) in PAGES.items():
        body = list(page())
        path = folder / f"{name}.md"
        intro = first(page)
        text = "\n".join((f"# {title}", "", intro, "", *body)).rstrip() + "\n"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
