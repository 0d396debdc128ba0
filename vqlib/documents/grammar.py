"""The grammar of formulas: groups, scripts, fonts, characters and commands."""

import re
import unicodedata
from collections.abc import Container

from vqlib.documents import symbols
from vqlib.documents.tokens import Definitions, TokenReader, tokens

ROW_ENDS = ("\\\\", "\\cr", "\\newline")
PAIRED = set("()[]{}⟨⟩⌊⌋⌈⌉⟦⟧⟮⟯⎰⎱|‖∣∥/")  # without a backslash Typst would make some of them larger
LIKE_TEX = {"-": "−", "*": "∗", "`": "‘"}
KNOWN = set(symbols.CHARACTERS.values()) - set("√")


def quoted(text: str) -> str:
    """Return text as a string in Typst's code."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def symbol(character: str) -> str:
    """Return a character as it stands in Typst's formulas."""
    character = LIKE_TEX.get(character, character)
    if character.isascii() and character.isalnum():
        return character
    if character.isascii() or character in PAIRED:
        return "\\" + character
    category = unicodedata.category(character)
    is_greek = "GREEK" in unicodedata.name(character, "") and category[0] == "L"
    if character not in "√∛∜" and (category == "Sm" or is_greek or character in KNOWN):
        return character
    return quoted(character)


class Grammar(TokenReader):
    """A reader of formulas; its subclass has the commands with arguments of their own."""

    def __init__(self, tex: str, shared: Definitions) -> None:
        super().__init__(tex, shared)
        self.tags: list[str] = []
        self.depth = 0
        self.has_rows = False

    def formula(self) -> tuple[str, bool]:
        """Return the whole formula, and whether it has rows."""
        rows, row = [], []
        while True:
            content, stop = self.sequence({"&", *ROW_ENDS})
            row.append(content)
            if stop == "&":
                continue
            rows.append(" & ".join(row) + self.tag())
            row = []
            if stop is None:
                break
        rows = [row for row in rows if row.strip()]
        return " \\ ".join(rows), self.has_rows or len(rows) > 1

    def sequence(self, stops: Container[str]) -> tuple[str, str | None]:
        """Return what stands before one of the stops or the end, and which one it was."""
        items: list[str] = []
        while (token := self.pull()) is not None:
            if token in stops:
                return " ".join(items), token
            name = token[1:].lstrip("\0") if token[0] == "\\" else ""
            if token in (" ", "}"):
                continue
            if name in ("over", "choose", "atop", "brace", "brack", "above"):
                return self._infix(name, " ".join(items), stops)
            if name in symbols.OLD_FONTS or (name == "color" and self._is_switch()):
                template = symbols.OLD_FONTS.get(name) or self.color()
                rest, stop = self.sequence(stops)
                if rest.strip():
                    items.append(template.format(rest))
                return " ".join(items), stop
            items.append(self.with_scripts(self.atom(token)))
        return " ".join(items), None

    def _infix(self, name: str, above: str, stops: Container[str]) -> tuple[str, str | None]:
        if name == "above":
            self.raw()
        below, stop = self.sequence(stops)
        above, below = above or '""', below or '""'
        forms = {"choose": "binom({}, {})", "atop": "mat(delim: #none, {}; {})"}
        forms |= {"brace": 'mat(delim: "{{", {}; {})', "brack": 'mat(delim: "[", {}; {})'}
        return forms.get(name, "frac({}, {})").format(above, below), stop

    def argument(self) -> str:
        """Return an argument in Typst's notation: a group, or a single atom."""
        self.skip()
        token = self.pull()
        if token is None or token in ("&", "}"):
            if token:
                self.rest.append(token)
            return '""'
        return self.atom(token).strip() or '""'

    def with_scripts(self, base: str) -> str:
        """Return an atom with the exponents, indices and primes that follow it."""
        above, below, primes = "", "", 0
        while (token := self.skip()) in ("^", "_", "'", "’", "\\limits", "\\nolimits"):
            self.rest.pop()
            if token == "^":
                above = f"{above} {self.argument()}".strip()
            elif token == "_":
                below = f"{below} {self.argument()}".strip()
            elif token in ("'", "’"):
                primes += 1
            elif base.strip():
                base = f"{'limits' if token == chr(92) + 'limits' else 'scripts'}({base})"
        above = " ".join(filter(None, ["′" * primes, above]))
        if not above and not below:
            return base
        parts = [base.strip() or '""']
        parts += [f"t: {above}"] if above else []
        parts += [f"b: {below}"] if below else []
        return f"attach({', '.join(parts)})"

    def atom(self, token: str) -> str:
        """Return a group, a character or a command with its arguments."""
        if token == "{":
            self.depth += 1
            content, _ = self.sequence("}")
            self.depth -= 1
            operator = len(content.strip("\\")) == 1 and not content.isalnum()
            return f'class("normal", {content})' if operator else content
        if token in ("^", "_", "'"):
            self.rest.append(token)
            return ""
        if token == "~":
            return "space"
        if token[0] == "\\":
            return self.command(token[1:].lstrip("\0"))
        if token.isdigit():
            return self._number(token)
        shown = symbol(token)
        if token == "|":  # TeX leaves no gaps around it
            return 'class("normal", \\|)'
        if shown[0] == '"':
            while self.rest and symbol(self.rest[-1])[:1] == '"':
                shown = shown[:-1] + symbol(self.rest.pop())[1:]
        return shown

    def _number(self, digits: str) -> str:
        while self.rest and (
            self.rest[-1].isdigit()
            or (self.rest[-1] in ".," and self.rest[-2:-1] and self.rest[-2].isdigit())
        ):
            if self.rest[-1] == ",":
                break
            digits += self.rest.pop()
        return digits if digits.isascii() else quoted(digits)

    def command(self, name: str) -> str:  # a table of cases
        """Return what a command stands for, with its arguments."""
        if name in symbols.CHARACTERS:
            shown = symbol(symbols.CHARACTERS[name])
            return f'class("normal", {shown})' if shown in ("\\|", "\\‖") else shown
        if name in symbols.SPACES:
            return symbols.SPACES[name]
        if name in symbols.FUNCTIONS:
            return f"op({quoted(name)})"
        if name in symbols.LIMITS or name in symbols.LIMITS_OF_TWO_WORDS:
            words = symbols.LIMITS_OF_TWO_WORDS.get(name, name)
            return f"op({quoted(words)}, limits: #true)"
        if name in symbols.ACCENTS:
            return f"accent({self.argument()}, {symbols.ACCENTS[name]})"
        if name in symbols.LINES:
            return f"limits({symbols.LINES[name]}({self.argument()}))"
        if name in symbols.TEXTS:
            return symbols.TEXTS[name].format(self.text(self.balanced()))
        if name in symbols.FONTS:
            content = self.argument()
            return symbols.FONTS[name].replace("{}", content)
        if name in symbols.BIG:
            return f"lr(size: #{symbols.BIG[name]}, {self.delimiter() or '#none'})"
        if name in symbols.ARROWS:
            return self._arrow(symbols.ARROWS[name])
        if name in symbols.LETTERS:
            return f"bb({symbols.LETTERS[name]})"
        if name in symbols.IGNORED:
            return ""
        if name in symbols.IGNORED_WITH_ARGUMENT and name != "label":
            self.raw()
            return ""
        if name in symbols.KEPT_SECOND:
            self.raw()
            return self.argument()
        method = getattr(self, f"_do_{name}", None)
        if method is not None:
            result: str = method()
            return result
        if name in symbols.MATRICES or name in ("cases", "eqalign"):  # as in plain TeX
            layout = "aligned" if name == "eqalign" else name
            begin, end = tokens(f"\\begin{{{layout}}}"), tokens(f"\\end{{{layout}}}")
            self.rest += [*begin, *self.balanced(), *end][::-1]
            return ""
        if name in symbols.OLD_FONTS:
            return ""
        if name in symbols.COLORS:  # \red{x}
            return f"text(fill: #rgb({quoted(symbols.COLORS[name])}), {self.argument()})"
        if len(name) == 1 and not name.isalpha():
            return symbol(name)
        self.shared.note(f"the LaTeX command \\{name} is unknown")
        return quoted(f"\\{name}")

    def tag(self) -> str:
        """Return the tags of a row, at its end."""
        tags, self.tags = self.tags, []
        return "".join(f" wide {quoted(tag)}" for tag in tags)

    def delimiter(self) -> str:
        """Return the bracket that comes next, or "" for the one that is not shown."""
        self.skip()
        token = self.pull()
        if token is None or token == ".":
            return ""
        if token[0] == "\\":
            character = symbols.CHARACTERS.get(token[1:].lstrip("\0"), "")
            return symbol(character) if character else ""
        return symbol({"<": "⟨", ">": "⟩"}.get(token, token))

    def text(self, tokens: list[str]) -> str:
        """Return the text of a command such as `text`, with the formulas in it."""
        parts, run = [], ""
        rest = tokens[::-1]
        while rest:
            token = rest.pop()
            name = token[1:] if token[0] == "\\" else ""
            if token == "$":
                inner = []
                while rest and (token := rest.pop()) != "$":
                    inner.append(token)
                parts += [quoted(run)] if run else []
                parts.append(self.part(inner))
                run = ""
            elif name in (*symbols.SPACES, "\\") or token == "~":
                run += " "
            elif name in symbols.CHARACTERS:
                run += symbols.CHARACTERS[name]
            elif name:
                run += "" if name in symbols.TEXTS or name in symbols.OLD_FONTS else name
            elif token not in "{}":
                run += token
        parts += [quoted(run)] if run else []
        return " ".join(parts) or '""'

    def part(self, tokens: list[str]) -> str:
        """Return tokens in Typst's notation, apart from those that follow."""
        rest, self.rest = self.rest, tokens[::-1]
        content, _ = self.sequence(())
        self.rest = rest
        return content

    def _is_switch(self) -> bool:
        """Return whether a colour holds for the rest of the group: no group follows it."""
        kept = list(self.rest)
        self.raw()
        is_switch = self.skip() != "{"
        self.rest = kept
        return is_switch

    def color(self) -> str:
        """Return the template for what has a colour."""
        if self.skip() == "[":
            self.optional()
        name = self.raw()
        color = symbols.COLORS.get(name.lower(), name)
        if not re.fullmatch(r"#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", color):
            return "{}"
        return f"text(fill: #rgb({quoted(color)}), {{}})"

    def _arrow(self, arrow: str) -> str:
        below = self.optional()
        parts = [f"limits(stretch({arrow}, size: #(100% + 0.6em)))", f"t: {self.argument()}"]
        parts += [f"b: {self.part(below)}"] if below else []
        return f"attach({', '.join(parts)})"
