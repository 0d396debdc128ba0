"""Rewrite TeX formulas so that pandoc's Typst writer sets them as Jupyter shows them."""

import re

# Environments that Jupyter sets without dollars around them
EQUATIONS = re.compile(
    r"\s*\\begin\{(align|alignat|eqnarray|equation|gather|multline)(\*?)\}(.*)"
    r"\\end\{\1\2\}\s*",
    re.DOTALL,
)
NORM_BARS = re.compile(r"\\\\|\\\||(?<=\\left)\\lVert|(?<=\\right)\\rVert")  # \\ ends a row
DETERMINANT = re.compile(r"\\begin\{vmatrix\}(.*?)\\end\{vmatrix\}", re.DOTALL)
MATRIX = re.compile(
    r"(\\left\s*(?:[(\[|]|\\\{)\s*)?\\begin\{(matrix|smallmatrix|array)\}(.*?)\\end\{\2\}",
    re.DOTALL,
)
SIZES = re.compile(r"\\[bB]igg?[lrm]?(?=\s*\\[a-zA-Z])")
OLD_FONTS = re.compile(r"\{\s*\\(bf|cal|it|rm|sf|tt)\b\s*([^{}]*)\}")
DEFINITIONS = re.compile(r"\s*\\(re|provide)?(newcommand|def|let|newenvironment|DeclareMath)")
# Commands that Jupyter knows and pandoc does not
MACROS = r"""\newcommand{\tbinom}[2]{\binom{#1}{#2}}
\newcommand{\cfrac}[2]{\dfrac{#1}{#2}}
\newcommand{\bra}[1]{\langle #1 |}
\newcommand{\ket}[1]{| #1 \rangle}
\newcommand{\textcolor}[2]{\color{#1}{#2}}
\newcommand{\smash}[1]{#1}
\newcommand{\vphantom}[1]{}
\newcommand{\thinspace}{\,}
\newcommand{\negthinspace}{\!}
\newcommand{\degree}{{}^\circ}
""".splitlines(keepends=True)


def with_macros(markdown: str) -> str:
    """Return Markdown preceded by those `MACROS` that it does not define itself."""
    macros = "".join(macro for macro in MACROS if macro.split("}")[0] not in markdown)
    return macros + markdown


def is_definition(tex: str) -> bool:
    """Return whether raw TeX defines a macro; pandoc has already applied it."""
    return DEFINITIONS.match(tex) is not None


def equations(tex: str) -> str | None:
    """Return the formula of an equation environment without dollars, or None for other TeX."""
    found = EQUATIONS.fullmatch(tex)
    if found is None:
        return None
    return found[3] if found[1] == "equation" else tex.strip()


def mend(tex: str) -> str:
    r"""Return a formula without what pandoc's Typst writer gets wrong.

    The writer takes `\|` for the sign of parallel lines, drops `\tag`, spells out the names of
    large brackets, and does not know old font commands such as `{\bf x}`.
    """
    tex = re.sub(r"\\tag\{([^{}]*)\}", r"\\qquad \\text{(\1)}", tex)
    tex = NORM_BARS.sub(lambda bar: bar[0] if bar[0] == r"\\" else r"\Vert ", tex)
    tex = SIZES.sub("", OLD_FONTS.sub(r"\\math\1{\2}", tex))
    tex = DETERMINANT.sub(r"\\left|\\begin{matrix}\1\\end{matrix}\\right|", tex)
    return MATRIX.sub(_spread, tex)


def _spread(matrix: re.Match[str]) -> str:
    """Return a matrix with gaps between its columns; without brackets, pandoc sets none."""
    return matrix[0] if matrix[1] else re.sub(r"(?<!\\)&", r"\\quad&&", matrix[0])
