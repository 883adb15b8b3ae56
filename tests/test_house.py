# SPDX-License-Identifier: MIT
"""What holds for every file of the house: said once here, so that nobody has to look for it in a review."""

import ast
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from tests.fuzz.registry import HARNESSES, find_parsers

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "tellin"
SPDX = "# SPDX-License-Identifier: MIT"

SOURCES = sorted(PACKAGE.rglob("*.py"))
OURS = [
    *SOURCES,
    *sorted(
        path
        for folder in ("tests", "bench", "docs/_ext")
        for path in (ROOT / folder).rglob("*.py")
        if "_build" not in path.parts
    ),
]

# A file past some 600 lines usually holds two rooms. Those that hold one, and why:
LINES = 650
LONG_FILES: dict[str, str] = {
    "src/tellin/config/ssh_config.py": "a row a keyword: it is as long as OpenSSH's manual page",
}

# A room is named after a noun of the RFCs; these say only that nobody found the noun.
NAMELESS = {"utils", "util", "helpers", "helper", "misc", "common", "stuff", "base"}

# Where text is written straight to the terminal.
SPEAKING = ("programs", "__main__.py", "diagnosis")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


@cache
def calls(path: Path) -> list[tuple[str, int]]:
    """Every call in a file as ``("module.function", line)``."""
    found = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    return [(ast.unparse(node.func), node.lineno) for node in found]


@cache
def imports(path: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


def test_there_is_a_house_to_look_at() -> None:
    assert len(SOURCES) > 5


def test_a_file_starts_with_its_licence_and_what_it_is_for() -> None:
    bad = []
    for path in OURS:
        text = path.read_text("utf-8")
        lines = [line for line in text.splitlines() if not line.startswith("#!")]
        # A test's file is named after its room, and its tests are sentences: it may go without.
        silent = path.name.startswith("test_")
        said = len(lines) > 1 and (silent or lines[1].startswith(('"""', 'r"""')))
        if lines and not (lines[0] == SPDX and said):
            bad.append(name(path))
    assert not bad, "first line the SPDX line, second what the file is for"


def test_every_room_says_what_it_is_for() -> None:
    bad = [name(path) for path in SOURCES if not (ast.get_docstring(tree(path)) or "").strip()]
    assert not bad
    folders = {path.parent for path in SOURCES}
    assert not [name(folder) for folder in folders if not (folder / "__init__.py").exists()]


def test_no_room_is_named_after_nothing() -> None:
    assert not [name(path) for path in SOURCES if path.stem in NAMELESS]


def test_no_file_has_grown_past_its_size() -> None:
    long = {
        name(path): count
        for path in SOURCES
        if (count := len(path.read_text("utf-8").splitlines())) > LINES
        and name(path) not in LONG_FILES
    }
    assert not long, (
        f"more than {LINES} lines: look for the second room, or list it with the reason"
    )


def test_only_programs_print() -> None:
    bad = [
        f"{name(path)}:{line}"
        for path in SOURCES
        if path.relative_to(PACKAGE).parts[0] not in SPEAKING
        for function, line in calls(path)
        if function == "print"
    ]
    assert not bad


def test_nothing_unfinished_is_left_behind() -> None:
    marks = re.compile("TO[D]O|FIX[M]E|XX[X]|HA[C]K")
    bad = [
        f"{name(path)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if marks.search(line)
    ]
    assert not bad


def test_no_error_is_swallowed_whole() -> None:
    bad = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                bad.append(f"{name(path)}:{node.lineno}")
    assert not bad, "a bare except also takes KeyboardInterrupt"


def test_r121_nothing_from_outside_becomes_code() -> None:
    modules = {"pickle", "cPickle", "marshal", "shelve", "dill", "yaml", "dbm"}
    functions = {"eval", "exec", "compile", "__import__", "yaml.load", "pickle.loads"}
    bad = []
    for path in SOURCES:
        bad += [f"{name(path)}: {module}" for module in imports(path) if module in modules]
        bad += [f"{name(path)}:{line}: {what}" for what, line in calls(path) if what in functions]
    assert not bad


def test_r045_no_nonce_of_a_signature_is_made_here() -> None:
    # An (EC)DSA signature needs a secret number; a biased one gives the key away (CVE-2024-31497).
    # So nobody here computes on a curve or in a group of signatures: PyCA's sign() does it all.
    words = re.compile(
        r"\b(encode_dss_signature|deterministic_signing|rfc6979|nonce_k|k_inverse|mod_inverse)\b"
    )
    allowed = {"encode_dss_signature"}  # turns the wire's r and s into what verify() takes
    bad = []
    for path in SOURCES:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            found = set(words.findall(line)) - allowed
            if found:
                bad.append(f"{name(path)}:{number}: {found}")
        bad += [
            f"{name(path)}:{line}: modular inverse"
            for function, line, exponent in _powers(path)
            if exponent == "-1"
        ]
    assert not bad
    signing = [
        name(path)
        for path in SOURCES
        for what, _ in calls(path)
        if what.endswith(".sign") and "Prehashed" in path.read_text("utf-8")
    ]
    assert not signing


def _powers(path: Path) -> Iterator[tuple[str, int, str]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pow" and len(node.args) == 3:
            yield "pow", node.lineno, ast.unparse(node.args[1])


# What a handler of signals may do is to remember them. These are the two that do so, the one that
# puts the terminal back before it dies of what came, and what was there before.
HANDLERS = {
    "signal.SIG_DFL",
    "signal.SIG_IGN",
    # It raises KeyboardInterrupt, and a server has no such handler (below).
    "signal.default_int_handler",
    "signal.SIG_DFL if before is None else before",
    "signal.SIG_DFL if handler is None else handler",
    "_delivered",
    "self._note",
    "self._killed",
}


def test_r037_no_handler_of_a_signal_does_more_than_note_it() -> None:
    """CVE-2006-5051, CVE-2024-6387: the time to log in ended in a handler that logged and freed."""
    bad = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            what = ast.unparse(node.func)
            if what == "signal.signal" and ast.unparse(node.args[1]) not in HANDLERS:
                bad.append(f"{name(path)}:{node.lineno}")
            # Timers of the system, which end in a signal: the loop has its own.
            if what in {"signal.alarm", "signal.setitimer"}:
                bad.append(f"{name(path)}:{node.lineno}")
    assert not bad
    loop = PACKAGE / "runtime" / "loop.py"
    (delivered,) = [
        node
        for node in ast.walk(tree(loop))
        if isinstance(node, ast.FunctionDef) and node.name == "_delivered"
    ]
    assert not [node for node in ast.walk(delivered) if isinstance(node, ast.Call)]
    # A server has no other: its signals are the loop's.
    for path in SOURCES:
        if path.relative_to(PACKAGE).parts[0] == "server":
            assert "signal.signal" not in {what for what, _ in calls(path)}, name(path)


def test_the_version_is_said_once_and_again_the_same() -> None:
    from tellin.transport.version import VERSION

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == VERSION


def test_every_name_in_the_documentation_exists() -> None:
    texts = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "changelog.d").glob("*.md"),
    ]
    bad = []
    for path in texts:
        if {"_build", "generated"} & set(path.parts):
            continue
        for found in set(re.findall(r"`(tellin(?:\.\w+)+)`", path.read_text("utf-8"))):
            if not _resolves(found):
                bad.append(f"{name(path)}: {found}")
    assert not bad


def _resolves(dotted: str) -> bool:
    parts = dotted.split(".")
    thing: object = importlib.import_module(parts[0])
    for end, part in enumerate(parts[1:], 1):
        if inspect.ismodule(thing) and not hasattr(thing, part):
            with suppress(ModuleNotFoundError):
                importlib.import_module(".".join(parts[: end + 1]))
        if not hasattr(thing, part):
            return False
        thing = getattr(thing, part)
    return True


def test_randomness_comes_from_the_system() -> None:
    bad = [
        f"{name(path)}: {module}"
        for path in SOURCES
        for module in imports(path)
        if module == "random"
    ]
    assert not bad


def test_r124_two_packages_are_needed_to_run() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = {re.split(r"[<>=~! ]", line)[0] for line in project["dependencies"]}
    assert needed == {"cryptography", "bcrypt"}


def test_r124_nothing_else_is_imported() -> None:
    import sys

    allowed = {*sys.stdlib_module_names, "tellin", "cryptography", "bcrypt", "uvloop"}
    allowed.add("_sha2")  # Python's, from 3.12 on
    # Extras, each in the one place that has a use for it.
    extras = {
        "pkcs11": "ssh_pkcs11_helper.py",
        "fido2": "ssh_sk_helper.py",
        "dns": "sshfp.py",
        "fsspec": "fsspec_files.py",
    }
    bad = {
        f"{name(path)}: {module}"
        for path in SOURCES
        for module in imports(path)
        if module.split(".")[0] not in allowed and extras.get(module.split(".")[0]) != path.name
    }
    assert not bad


def test_the_import_contracts_name_every_room() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    rooms |= {path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")}
    core = rooms & {
        *(
            "errors",
            "wire",
            "algorithms",
            "keys",
            "transport",
            "userauth",
            "connection",
            "protocol",
        ),
        *("agent", "sftp", "scp", "mux", "config"),
    }
    by_name = {contract["id"]: contract for contract in contracts["contracts"]}
    named = {module.removeprefix("tellin.") for module in by_name["sans-io"]["source_modules"]}
    assert named == core, "the contract sans-io lists every room of the core that exists"
    named = {
        module.removeprefix("tellin.") for module in by_name["one-crypto-door"]["source_modules"]
    }
    assert named == rooms - {"algorithms", "keys"}, "only algorithms and keys touch PyCA"


@pytest.mark.parametrize("parser", sorted(find_parsers(PACKAGE)))
def test_every_parser_has_a_fuzz_harness(parser: str) -> None:
    covered = {covers for harness in HARNESSES for covers in harness.covers}
    assert parser in covered, "add a row to tests/fuzz/registry.py"


def test_no_harness_covers_what_is_gone() -> None:
    parsers = find_parsers(PACKAGE)
    gone = {covers for harness in HARNESSES for covers in harness.covers} - set(parsers)
    assert not gone


def test_words_that_say_nothing_are_left_out() -> None:
    # A letter in brackets, so that this file is no find.
    words = re.compile(
        r"\b(bla[z]ing|lightning.fa[s]t|simp[l]y|obvious[l]y|robu[s]t)\b", re.IGNORECASE
    )
    texts = [
        *OURS,
        *ROOT.glob("*.md"),
        *(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
        *(ROOT / "changelog.d").glob("*.md"),
    ]
    assert not [name(path) for path in texts if words.search(path.read_text("utf-8"))]


def test_rfc_nouns_are_spelled_out() -> None:
    # The abbreviations that other implementations are read for by heart.
    short = {
        "chan_id",
        "chanid",
        "mps",
        "pkt",
        "msg_type",
        "kexinit_c",
        "rekeying_flag",
        "do_stuff",
    }
    bad = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Name) and node.id in short:
                bad.append(f"{name(path)}:{node.lineno}: {node.id}")
            elif isinstance(node, ast.arg) and node.arg in short:
                bad.append(f"{name(path)}:{node.lineno}: {node.arg}")
    assert not bad
