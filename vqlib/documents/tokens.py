"""The tokens of a formula in LaTeX, with its macros replaced by what they stand for."""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field

TOKEN = re.compile(r"\\(?:[a-zA-Z]+|.)|%[^\n]*(?:\n\s*|$)|\s+|.", re.DOTALL)
ENTITY = re.compile(r"&(?:lt|gt|amp|nbsp|quot|#\d+);")
TOO_MANY = 2000  # expansions of macros in a formula: one of them contains itself


@dataclass
class Definitions:
    """What the formulas of a notebook share.

    Attributes:
        macros: by name, the number of arguments, a default for the first, and the body.
        labels: the number or tag of each label.
        note: is told what a formula has that is unknown.
    """

    macros: dict[str, tuple[int, list[str] | None, list[str]]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    note: Callable[[str], None] = print


def tokens(tex: str) -> list[str]:
    """Return the tokens of a formula; any space is one."""
    tex = ENTITY.sub(lambda entity: html.unescape(entity[0]), tex)
    found = (" " if token.isspace() else token for token in TOKEN.findall(tex))
    return [token for token in found if not (token[0] == "%" and len(token) > 0)]


class TokenReader:
    """A reader of one formula: `rest` holds its tokens, the next one last."""

    def __init__(self, tex: str, shared: Definitions) -> None:
        self.rest = tokens(tex)[::-1]
        self.shared = shared
        self.expansions = 0

    def pull(self) -> str | None:
        """Return the next token, with macros replaced by what they stand for."""
        while self.rest:
            token = self.rest.pop()
            macro = self.shared.macros.get(token[1:]) if token[0] == "\\" else None
            if macro is None or self.expansions > TOO_MANY:
                return token
            self.expansions += 1
            count, default, body = macro
            arguments = []
            for index in range(count):
                optional = self.optional() if index == 0 and default is not None else None
                if index == 0 and default is not None:
                    arguments.append(default if optional is None else optional)
                else:
                    arguments.append(self.balanced())
            self.rest += _filled(body, arguments)[::-1]
        return None

    def skip(self) -> str | None:
        """Drop spaces, and return the token after them, which stays."""
        while self.rest and self.rest[-1] == " ":
            self.rest.pop()
        return self.rest[-1] if self.rest else None

    def balanced(self) -> list[str]:
        """Return the tokens of an argument, without the braces around it."""
        if self.skip() is None:
            return []
        if (token := self.rest.pop()) != "{":
            return [token]
        return self.until("}")

    def optional(self) -> list[str] | None:
        """Return the tokens of an argument in brackets, or None if there is none."""
        if self.skip() != "[":
            return None
        self.rest.pop()
        return self.until("]")

    def until(self, end: str) -> list[str]:
        """Return the tokens before one that ends an argument."""
        found, depth = [], 0
        while self.rest:
            token = self.rest.pop()
            if token == end and depth == 0:
                break
            depth += (token == "{") - (token == "}")
            found.append(token)
        return found

    def raw(self) -> str:
        """Return an argument as it is written."""
        return "".join(self.balanced()).strip()

    # --- macros

    def _do_newcommand(self) -> str:
        if self.skip() == "*":
            self.rest.pop()
        name = self.raw().removeprefix("\\")
        count = "".join(self.optional() or ["0"])
        default = self.optional()
        body = self.balanced()
        self.shared.macros[name] = (int(count) if count.isdigit() else 0, default, body)
        return ""

    _do_renewcommand = _do_providecommand = _do_newcommand

    def _do_def(self) -> str:
        name = self.raw().removeprefix("\\")
        count = 0
        while self.rest and self.rest[-1] != "{":
            count += self.rest.pop() == "#"
        self.shared.macros[name] = (count, None, self.balanced())
        return ""

    _do_gdef = _do_edef = _do_def

    def _do_let(self) -> str:
        name = self.raw().removeprefix("\\")
        if self.skip() == "=":
            self.rest.pop()
        self.skip()
        token = self.rest.pop() if self.rest else " "
        known = self.shared.macros.get(token[1:])
        primitive = ["\\\0" + token[1:] if token[0] == "\\" else token]
        self.shared.macros[name] = known or (0, None, primitive)
        return ""

    def _do_DeclareMathOperator(self) -> str:  # noqa: N802
        star = ["*"] if self.skip() == "*" else []
        if star:
            self.rest.pop()
        name = self.raw().removeprefix("\\")
        body = ["\\operatorname", *star, "{", *self.balanced(), "}"]
        self.shared.macros[name] = (0, None, body)
        return ""


def _filled(body: list[str], arguments: list[list[str]]) -> list[str]:
    """Return the body of a macro with its arguments in place of #1, #2 and so on."""
    found: list[str] = []
    index = 0
    while index < len(body):
        follows = body[index + 1] if index + 1 < len(body) else ""
        if body[index] == "#" and follows.isdigit():
            number = int(follows) - 1
            found += arguments[number] if number < len(arguments) else []
            index += 1
        else:
            found.append(body[index])
        index += 1
    return found
