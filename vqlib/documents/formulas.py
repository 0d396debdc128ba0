"""Formulas as pandoc's Typst writer can set them: what Jupyter shows, in terms that it knows."""

import re
from typing import Any

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
# What Jupyter shows and pandoc does not know.
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
DEFINITIONS = re.compile(r"\s*\\(re|provide)?(newcommand|def|let|newenvironment|DeclareMath)")


def with_macros(markdown: str) -> str:
    """Markdown after the macros that it does not define itself."""
    macros = "".join(macro for macro in MACROS if macro.split("}")[0] not in markdown)
    return macros + markdown


def mend(tex: str) -> str:
    r"""A formula for pandoc, which takes \| for the sign of parallel lines, drops \tag, and
    writes out the names of large brackets."""
    tex = re.sub(r"\\tag\{([^{}]*)\}", r"\\qquad \\text{(\1)}", tex)
    tex = NORM_BARS.sub(lambda bar: bar[0] if bar[0] == r"\\" else r"\Vert ", tex)
    tex = SIZES.sub("", OLD_FONTS.sub(r"\\math\1{\2}", tex))
    tex = DETERMINANT.sub(r"\\left|\\begin{matrix}\1\\end{matrix}\\right|", tex)
    return MATRIX.sub(_spread, tex)


def _spread(matrix: re.Match[str]) -> str:
    """A matrix; without brackets, whose columns pandoc would set without a gap, with gaps."""
    return matrix[0] if matrix[1] else re.sub(r"(?<!\\)&", r"\\quad&&", matrix[0])


def equations(tex: str) -> dict[str, Any] | None:
    """The formula that LaTeX outside of dollars is, for pandoc's document; None if it is none."""
    found = EQUATIONS.fullmatch(tex)
    if not found:
        return None
    body = found[3] if found[1] == "equation" else tex.strip()
    return {"t": "Math", "c": [{"t": "DisplayMath"}, mend(body)]}
