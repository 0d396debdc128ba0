"""Translate formulas from LaTeX, as Jupyter's MathJax reads it, to Typst's notation."""

import re
import unicodedata

from vqlib.documents import symbols
from vqlib.documents.grammar import ROW_ENDS, Grammar, quoted, symbol
from vqlib.documents.tokens import Definitions

LENGTH = re.compile(r"(-?[\d.]+)\s*(mm|cm|in|pt|em|ex|mu|px)")
TYPST_UNITS = {"ex": ("em", 0.45), "mu": ("em", 1 / 18), "px": ("pt", 0.75)}
LAYOUTS = {
    "align", "aligned", "alignat", "alignedat", "darray", "displaymath", "dmath", "eqnarray",
    "equation", "flalign", "gather", "gathered", "IEEEeqnarray", "math", "multline", "multlined",
    "split", "subequations",
}  # fmt: skip
CASES = {"cases", "dcases", "rcases", "drcases", "numcases"}
REACTIONS = {"->": "⟶", "<=>": "⇌", "<-": "⟵", "+": "\\+", "=": "\\="}
CHEMISTRY = re.compile(
    r"->|<=>|<-|\^\{[^}]*\}|\^[\d+-]+|_\{[^}]*\}|[A-Za-z]+|\d+|[+-](?=$|\)|\s)|\s+|."
)


def number_labels(formulas: list[str], labels: dict[str, str]) -> None:
    """Give each label in the formulas the tag of its row, or else the next number."""
    number = 0
    for row in re.split(r"\\\\", "\\\\".join(formulas)):
        for label in re.findall(r"\\label\s*\{([^}]*)\}", row):
            tag = re.search(r"\\tag\*?\s*\{([^}]*)\}", row)
            number += tag is None
            labels[label] = tag[1] if tag else str(number)


def to_typst(tex: str, display: bool, shared: Definitions) -> str:
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


class _Parser(Grammar):
    """A reader of formulas: `_do_frac` reads the arguments of `frac`, and so on."""

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
        return f"root({self.part(index)}, {body})" if index else f"sqrt({body})"

    def _do_overset(self) -> str:
        above = self.argument()
        return f"attach(limits({self.argument()}), t: {above})"

    _do_stackrel = _do_overset

    def _do_underset(self) -> str:
        below = self.argument()
        return f"attach(limits({self.argument()}), b: {below})"

    def _do_textcolor(self) -> str:
        template = self.color()
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
        return f"mat(delim: #none, {'; '.join(self.part(row) or chr(34) * 2 for row in rows)})"

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
            return symbol(chr(int(code[1:], 16) if code[:1] in "xX" else int(code)))
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
        elif name in ("aligned", "gathered"):
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
            content += self.tag() if stop != "&" else ""
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
    lines = [
        len(re.sub(r"[^lcr]", "", columns[: bar.start()])) for bar in re.finditer(r"\|", columns)
    ]
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
