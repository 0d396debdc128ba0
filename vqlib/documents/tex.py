"""Translate formulas from LaTeX, as Jupyter's MathJax reads it, to Typst's notation."""

import html
import re
import unicodedata
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from vqlib.documents import symbols

TOKEN = re.compile(r"\\(?:[a-zA-Z]+|.)|%[^\n]*(?:\n\s*|$)|\s+|.", re.DOTALL)
ENTITY = re.compile(r"&(?:lt|gt|amp|nbsp|quot|#\d+);")
LENGTH = re.compile(r"(-?[\d.]+)\s*(mm|cm|in|pt|em|ex|mu|px)")
TYPST_UNITS = {"ex": ("em", 0.45), "mu": ("em", 1 / 18), "px": ("pt", 0.75)}
ROW_ENDS = ("\\\\", "\\cr", "\\newline")
LAYOUTS = set(
    "align aligned alignat alignedat alignat eqnarray equation flalign gather gathered split "
    "multline multlined displaymath math subequations dmath IEEEeqnarray darray".split()
)
CASES = {"cases", "dcases", "rcases", "drcases", "numcases"}
TOO_MANY = 2000  # expansions of macros in a formula: one of them contains itself
PAIRED = set("()[]{}⟨⟩⌊⌋⌈⌉⟦⟧⟮⟯⎰⎱|‖∣∥/")  # without a backslash Typst would make some of them larger
LIKE_TEX = {"-": "−", "*": "∗", "`": "‘"}
REACTIONS = {"->": "⟶", "<=>": "⇌", "<-": "⟵", "+": "\\+", "=": "\\="}
CHEMISTRY = re.compile(
    r"->|<=>|<-|\^\{[^}]*\}|\^[\d+-]+|_\{[^}]*\}|[A-Za-z]+|\d+|[+-](?=$|\)|\s)|\s+|."
)


@dataclass
class Notebook:
    """What the formulas of a notebook share.

    Attributes:
        macros: by name, the number of arguments, a default for the first, and the body.
        labels: the number or tag that stands for each `\\label`.
        note: is told what a formula has that is unknown.
    """

    macros: dict[str, tuple[int, list[str] | None, list[str]]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    note: Callable[[str], None] = print


def number_labels(formulas: list[str], labels: dict[str, str]) -> None:
    """Give each label in the formulas the tag of its row, or else the next number."""
    number = 0
    for row in re.split(r"\\\\", "\\\\".join(formulas)):
        for label in re.findall(r"\\label\s*\{([^}]*)\}", row):
            tag = re.search(r"\\tag\*?\s*\{([^}]*)\}", row)
            number += tag is None
            labels[label] = tag[1] if tag else str(number)


def to_typst(tex: str, display: bool, shared: Notebook) -> str:
    """Return a formula in Typst's notation with its dollars, or "" if it shows nothing.

    Args:
        tex: the formula without the delimiters around it.
        display: whether it has a line of its own.
        shared: the macros that it knows and those that it defines.
    """
    parser = _Parser(tex, shared)
    body, has_rows = parser.formula()
    if not body.strip():
        return ""
    return f"$ {body} $" if display or has_rows else f"${body}$"


def quoted(text: str) -> str:
    """Return text as a string in Typst's code."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _tokens(tex: str) -> list[str]:
    tex = ENTITY.sub(lambda entity: html.unescape(entity[0]), tex)
    found = (" " if token.isspace() else token for token in TOKEN.findall(tex))
    return [token for token in found if not (token[0] == "%" and len(token) > 0)]


class _Parser:
    """A reader of one formula: `rest` holds its tokens, the next one last."""

    def __init__(self, tex: str, shared: Notebook) -> None:
        self.rest = _tokens(tex)[::-1]
        self.shared = shared
        self.expansions = 0
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
            rows.append(" & ".join(row) + self._tag())
            row = []
            if stop is None:
                break
        rows = [row for row in rows if row.strip()]
        return " \\ ".join(rows), self.has_rows or len(rows) > 1

    # --- tokens

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
        return self._until("}")

    def optional(self) -> list[str] | None:
        """Return the tokens of an argument in brackets, or None if there is none."""
        if self.skip() != "[":
            return None
        self.rest.pop()
        return self._until("]")

    def _until(self, end: str) -> list[str]:
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

    # --- formulas

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
                template = symbols.OLD_FONTS.get(name) or self._color()
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
        shown = _character(token)
        if token == "|":  # TeX leaves no gaps around it
            return 'class("normal", \\|)'
        if shown[0] == '"':
            while self.rest and _character(self.rest[-1])[:1] == '"':
                shown = shown[:-1] + _character(self.rest.pop())[1:]
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
            shown = _character(symbols.CHARACTERS[name])
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
            begin, end = _tokens(f"\\begin{{{layout}}}"), _tokens(f"\\end{{{layout}}}")
            self.rest += [*begin, *self.balanced(), *end][::-1]
            return ""
        if name in symbols.OLD_FONTS:
            return ""
        if name in symbols.COLORS:  # \red{x}
            return f"text(fill: #rgb({quoted(symbols.COLORS[name])}), {self.argument()})"
        if len(name) == 1 and not name.isalpha():
            return _character(name)
        self.shared.note(f"the LaTeX command \\{name} is unknown")
        return quoted(f"\\{name}")

    def _tag(self) -> str:
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
            return _character(character) if character else ""
        return _character({"<": "⟨", ">": "⟩"}.get(token, token))

    def text(self, tokens: list[str]) -> str:
        """Return the text of a command such as \\text, with the formulas in it."""
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
                parts.append(self._part(inner))
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

    def _part(self, tokens: list[str]) -> str:
        """Return tokens in Typst's notation, apart from those that follow."""
        rest, self.rest = self.rest, tokens[::-1]
        content, _ = self.sequence(())
        self.rest = rest
        return content

    def _is_switch(self) -> bool:
        """Whether \\color{red} holds for the rest of the group: no group follows it."""
        kept = list(self.rest)
        self.raw()
        is_switch = self.skip() != "{"
        self.rest = kept
        return is_switch

    def _color(self) -> str:
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
        parts += [f"b: {self._part(below)}"] if below else []
        return f"attach({', '.join(parts)})"

    # --- commands with arguments of their own: _do_NAME

    def _do_frac(self) -> str:
        return f"frac({self.argument()}, {self.argument()})"

    def _do_dfrac(self) -> str:
        return f"display({self._do_frac()})"

    def _do_cfrac(self) -> str:
        self.optional()
        return self._do_dfrac()

    def _do_tfrac(self) -> str:
        return f"inline({self._do_frac()})"

    def _do_nicefrac(self) -> str:
        return f"{self.argument()} \\/ {self.argument()}"

    _do_sfrac = _do_nicefrac

    def _do_binom(self) -> str:
        return f"binom({self.argument()}, {self.argument()})"

    _do_dbinom = _do_tbinom = _do_binom

    def _do_sqrt(self) -> str:
        index = self.optional()
        body = self.argument()
        return f"root({self._part(index)}, {body})" if index else f"sqrt({body})"

    def _do_overset(self) -> str:
        above = self.argument()
        return f"attach(limits({self.argument()}), t: {above})"

    _do_stackrel = _do_overset

    def _do_underset(self) -> str:
        below = self.argument()
        return f"attach(limits({self.argument()}), b: {below})"

    def _do_textcolor(self) -> str:
        template = self._color()
        return template.format(self.argument())

    _do_color = _do_textcolor

    def _do_colorbox(self) -> str:
        self.raw()
        return self.text(self.balanced())

    def _do_mathchoice(self) -> str:
        shown = self.argument()
        for _ in range(3):
            self.raw()
        return shown

    def _do_operatorname(self) -> str:
        limits = self.skip() == "*"
        if limits:
            self.rest.pop()
        name = re.sub(r"\\[,:; !]|\\\w+ ?|[{}\\]", "", self.raw())
        limits = limits or name in symbols.LIMITS
        return f"op({quoted(name)}{', limits: #true' if limits else ''})"

    _do_operatornamewithlimits = _do_operatorname

    def _do_left(self) -> str:
        self.depth += 1
        parts, stop = [self.delimiter()], "\\middle"
        while stop == "\\middle":
            content, end = self.sequence(("\\right", "\\middle"))
            parts.append(content)
            stop = end or ""
            if end:
                bracket = self.delimiter()
                parts.append(f"mid({bracket})" if bracket and end == "\\middle" else bracket)
        self.depth -= 1
        body = " ".join(filter(None, parts))
        return f"lr({body})" if body else ""

    def _do_right(self) -> str:
        return self.delimiter()

    _do_middle = _do_right

    def _do_not(self) -> str:
        return unicodedata.normalize("NFC", f"{self.argument()}\N{COMBINING LONG SOLIDUS OVERLAY}")

    def _do_bmod(self) -> str:
        return 'class("binary", op("mod"))'

    def _do_substack(self) -> str:
        rows = _split(self.balanced())
        return f"mat(delim: #none, {'; '.join(self._part(row) or chr(34) * 2 for row in rows)})"

    def _do_tag(self) -> str:
        if self.skip() == "*":
            self.rest.pop()
            self.tags = [self.raw().replace("$", "")]
        else:
            self.tags = [f"({self.raw().replace('$', '')})"]
        return ""

    def _do_label(self) -> str:
        if not self.tags:
            self.tags = [f"({self.shared.labels.get(self.raw(), '?')})"]
        else:
            self.raw()
        return ""

    def _do_ref(self) -> str:
        name = self.raw()
        if name not in self.shared.labels:
            self.shared.note(f"no formula has the label {name}")
        return quoted(self.shared.labels.get(name, "???"))

    def _do_eqref(self) -> str:
        return f"\\({self._do_ref()}\\)"

    def _do_hspace(self) -> str:
        if self.skip() == "*":
            self.rest.pop()
        found = LENGTH.search(self.raw())
        return _space(found[1], found[2]) if found else ""

    def _do_kern(self) -> str:
        written = ""
        while self.rest and (self.rest[-1] in "-.0123456789 " or not LENGTH.search(written)):
            if len(written) > 12:
                break
            written += self.rest.pop()
        found = LENGTH.search(written)
        return _space(found[1], found[2]) if found else ""

    _do_hskip = _do_mkern = _do_mskip = _do_kern
    _do_mspace = _do_hspace

    def _do_rule(self) -> str:
        self.optional()
        self.raw()
        self.raw()
        return ""

    def _do_unicode(self) -> str:
        self.optional()
        code = self.raw()
        try:
            return _character(chr(int(code[1:], 16) if code[:1] in "xX" else int(code)))
        except (ValueError, OverflowError):
            return quoted(code)

    def _do_LaTeX(self) -> str:  # noqa: N802
        return quoted("LaTeX")

    def _do_TeX(self) -> str:  # noqa: N802
        return quoted("TeX")

    def _do_verb(self) -> str:
        end, content = self.rest.pop() if self.rest else "", ""
        while self.rest and (token := self.rest.pop()) != end:
            content += token
        return f"mono({quoted(content)})"

    def _do_ce(self) -> str:
        return _chemistry(self.raw())

    def _do_sideset(self) -> str:
        left, right = self.argument(), self.argument()
        return f"{left} {self.argument()} {right}"

    def _do_begin(self) -> str:
        name = self.raw().rstrip("*")
        self.depth += 1
        spec = ""
        if name in ("array", "darray", "tabular", "subarray", "alignat", "alignedat", "numcases"):
            self.optional()
            spec = self.raw()
        elif name in ("aligned", "gathered", "split", *symbols.MATRICES):
            if self.skip() == "[" and name in ("aligned", "gathered"):
                self.optional()
        rows = self._rows()
        self.depth -= 1
        if name in symbols.MATRICES:
            return _matrix(name, rows, spec)
        if name in CASES:
            wide = "display({})" if name[0] == "d" else "{}"
            lines = [" & quad ".join(wide.format(cell) for cell in row) for row in rows]
            reverse = "reverse: #true, " if "r" in name[:2] else ""
            return f"cases({reverse}{', '.join(lines)})" if lines else ""
        if name not in LAYOUTS:
            self.shared.note(f"the LaTeX environment {name} is unknown")
        if name == "eqnarray":  # the relation has a column of its own
            rows = [[*row[:1], " ".join(row[1:])] if len(row) > 1 else row for row in rows]
        is_whole = self.depth == 0 and not any(token != " " for token in self.rest)
        lines = [" & ".join(row) for row in rows]
        if not is_whole:  # Typst sets the cells of a matrix small
            lines = [" & ".join(f"display({cell})" for cell in row) for row in rows]
        if is_whole:
            self.has_rows = True
            return " \\ ".join(lines)
        return f"mat(delim: #none, {'; '.join(lines)})" if len(lines) > 1 else " ".join(lines)

    def _do_end(self) -> str:
        self.raw()
        return ""

    def _rows(self) -> list[list[str]]:
        """Return the cells of each row of an environment, up to its end."""
        rows: list[list[str]] = [[]]
        while True:
            content, stop = self.sequence(("&", "\\end", *ROW_ENDS))
            content += self._tag() if stop != "&" else ""
            rows[-1].append(content or '""')
            if stop in ROW_ENDS:
                if self.rest and self.rest[-1] in ("[", "*"):  # more space between the rows
                    self.optional()
                rows.append([])
            elif stop != "&":
                if stop:
                    self.raw()
                if rows[-1] == ['""'] and len(rows) > 1:
                    rows.pop()
                return rows

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
    """Return the body of a macro with its arguments in place of #1, #2 …"""
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


def _split(tokens: list[str]) -> list[list[str]]:
    rows: list[list[str]] = [[]]
    for token in tokens:
        if token in ROW_ENDS:
            rows.append([])
        else:
            rows[-1].append(token)
    return rows


def _matrix(name: str, rows: list[list[str]], spec: str) -> str:
    """Return a matrix, with the lines between columns that its specification has."""
    options = [f"delim: {symbols.MATRICES[name]}"]
    columns = re.sub(r"@\{.*?\}|p\{.*?\}|\s", lambda part: "l" * (part[0][0] == "p"), spec)
    lines = [len(re.sub(r"[^lcr]", "", columns[: bar.start()])) for bar in re.finditer(r"\|", columns)]
    inner = sorted({line for line in lines if 0 < line < max(map(len, rows))})
    if inner:
        options.append(f"augment: #(vline: ({', '.join(map(str, inner))},))")
    if columns and len(set(re.sub(r"[^lcr]", "", columns))) == 1 and columns.strip("|")[:1] in "lr":
        options.append(f"align: #{'left' if 'l' in columns else 'right'}")
    return f"mat({', '.join(options)}, {'; '.join(', '.join(row) for row in rows)})"


def _space(number: str, unit: str) -> str:
    try:
        value = float(number)
    except ValueError:
        return ""
    typst, factor = TYPST_UNITS.get(unit, (unit, 1))
    return f"#h({value * factor:g}{typst})"


def _chemistry(text: str) -> str:
    """Return a chemical formula: letters upright, counts below and charges above."""
    parts: list[str] = []
    for token in CHEMISTRY.findall(text):
        is_charge = token[0] == "^" or token in "+-"
        is_attached = bool(parts) and parts[-1][-1] in '")'
        if is_attached and (is_charge or token[0] == "_" or token.isdigit()):
            script = f"{'t' if is_charge else 'b'}: {quoted(token.strip('^_{}'))}"
            if parts[-1].startswith("attach(") and ", b: " in parts[-1] and is_charge:
                parts[-1] = f"{parts[-1][:-1]}, {script})"
            else:
                parts[-1] = f"attach({parts[-1]}, {script})"
        elif token in REACTIONS:
            parts.append(REACTIONS[token])
        else:
            parts.append(quoted(token) if token.strip() else "med")
    return " ".join(parts)


def _character(character: str) -> str:
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


KNOWN = set(symbols.CHARACTERS.values()) - set("√")
