# SPDX-License-Identifier: MIT
"""The questions of a login at a terminal, in ssh(1)'s words; every answer comes at once."""

from collections.abc import Sequence

from tellin.client.questions import Answer, HostKeyQuestion, Prompts
from tellin.runtime.journal import Journal
from tellin.userauth.text import escape_text


class TerminalPrompter:
    """Asks whoever sits there; without a terminal and without SSH_ASKPASS nobody answers.

    ``who`` stands before the server's own questions: nobody should take one for ours.
    """

    def __init__(self, journal: Journal, *, who: str, visual: bool = False) -> None:
        self._journal = journal
        self._who = escape_text(who)
        self._visual = visual

    def confirm_host_key(self, question: HostKeyQuestion, answer: Answer[bool]) -> None:
        """Yes, no, or the fingerprint as its owner told it: that proves more than a yes."""
        if question.conflict:
            _confirm_conflict(question, answer)
            return
        key = question.key
        host = f"{question.host} ({question.address})"
        lines = [f"The authenticity of host '{host}' can't be established."]
        lines.append(f"{key.kind} key fingerprint is {question.fingerprint}.")
        if self._visual:
            from tellin.keys.pictures import randomart  # noqa: PLC0415  (start-up time)

            lines += randomart(key).splitlines()
        if question.in_dns is not None:
            found = "M" if question.in_dns else "No m"
            lines.append(f"{found}atching host key fingerprint found in DNS.")
        if question.elsewhere:
            lines.append("This host key is known by the following other names/addresses:")
            lines += [f"    {place}" for place in question.elsewhere]
        else:
            lines.append("This key is not known by any other names.")
        lines.append("Are you sure you want to continue connecting (yes/no/[fingerprint])? ")
        prompt = "\n".join(map(escape_text, lines))
        while True:
            said = _ask(prompt, echo=True)
            if said is None or said.strip().lower() in {"", "no"}:
                answer(False)
                return
            if said.strip().lower() == "yes" or said.strip() == question.fingerprint:
                answer(True)
                return
            prompt = "Please type 'yes', 'no' or the fingerprint: "

    def ask_passphrase(self, path: str, attempt: int, answer: Answer[bytes | None]) -> None:
        """The passphrase of a key file."""
        said = _ask(f"Enter passphrase for key '{escape_text(path)}': ")
        answer(None if said is None else said.encode("utf-8", "surrogateescape"))

    def ask_password(self, user: str, host: str, attempt: int, answer: Answer[str | None]) -> None:
        """The user's password."""
        answer(_text(_ask(f"{escape_text(user)}@{escape_text(host)}'s password: ")))

    def ask_new_password(
        self, user: str, host: str, prompt: str, answer: Answer[tuple[str, str] | None]
    ) -> None:
        """The old password once, the new one twice."""
        if prompt:
            self._journal.info(prompt)
        who = f"{escape_text(user)}@{escape_text(host)}"
        old = _text(_ask(f"Enter {who}'s old password: "))
        while old is not None:
            new = _text(_ask(f"Enter {who}'s new password: "))
            again = _text(_ask(f"Retype {who}'s new password: ")) if new else None
            if not new or again is None:
                break
            if new == again:
                answer((old, new))
                return
            self._journal.info("Mismatch; try again, EOF to quit.")
        answer(None)

    def answer_questions(
        self,
        name: str,
        instruction: str,
        prompts: Prompts,
        answer: Answer[Sequence[str] | None],
    ) -> None:
        """The server's questions, one by one."""
        for text in (name, instruction):
            if text.strip():
                for line in text.splitlines():
                    self._journal.info(line)
        answers: list[str] = []
        for text, echo in prompts:
            said = _text(_ask(f"({self._who}) {escape_text(text, keep_newlines=True)}", echo=echo))
            if said is None:
                answer(None)
                return
            answers.append(said)
        answer(answers)


def _confirm_conflict(question: HostKeyQuestion, answer: Answer[bool]) -> None:
    """Yes or no: the fingerprint that its owner told is no word on the address."""
    lines = (*question.warning, "Are you sure you want to continue connecting (yes/no)? ")
    prompt = "\n".join(map(escape_text, lines))
    while True:
        said = _ask(prompt, echo=True)
        if said is None or said.strip().lower() in {"", "no"}:
            answer(False)
            return
        if said.strip().lower() == "yes":
            answer(True)
            return
        prompt = "Please type 'yes' or 'no': "


def _ask(prompt: str, *, echo: bool = False) -> str | None:
    # Most logins ask nothing.
    from tellin.runtime.prompts import ask  # noqa: PLC0415  (start-up time)

    return ask(prompt, echo=echo)


def _text(said: str | None) -> str | None:
    """An answer as text; RFC 4252 section 8 wants UTF-8 on the wire whatever the terminal speaks."""
    if said is None or said.isascii():
        return said
    try:
        said.encode("utf-8")
    except UnicodeEncodeError:
        return said.encode("utf-8", "surrogateescape").decode("latin-1")
    return said
