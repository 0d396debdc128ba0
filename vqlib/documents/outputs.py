"""Translate the outputs of code cells to Typst's markup: the best form of each that prints."""

import html as html_
import json
import re
from collections.abc import Iterable
from typing import Any

from vqlib.documents import html, pictures
from vqlib.documents.document import (
    TEXT_WIDTH,
    Document,
    add_picture,
    clean,
    code_block,
    figure,
    fitted,
)
from vqlib.documents.markdown import ENVIRONMENTS, FORMULA, take_formulas

IMAGES = ("image/svg+xml", "application/pdf", "image/png", "image/jpeg", "image/gif", "image/webp")
ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-~])"
)
LATEX_FORMULA = re.compile(rf"\s*(?:\$|\\\(|\\\[|\\begin\{{(?:{ENVIRONMENTS})\*?\}})")
LATEX_WORDS = {"textbf": "b", "textit": "i", "emph": "i", "texttt": "code", "underline": "u"}
INVISIBLE = re.compile(r"#anchor\(\"(?:[^\"\\]|\\.)*\"\);|#linebreak\(\);|\s|\\ ")
SCRIPTED = re.compile(r"<script|<iframe", re.IGNORECASE)
UNSEEN = re.compile(
    r"<(script|style)\b.*?</\1\s*>|<(?:link|meta|!--)[^>]*>|\s", re.S | re.IGNORECASE
)
OBJECT = re.compile(r"<[\w.]+ object(?: at 0x[0-9a-fA-F]+)?>\s*")
WIDGET = "application/vnd.jupyter.widget-view+json"
SILENT = re.compile(r"application/vnd\.(bokehjs_load|holoviews_load|datascience)")
ANIMATION = re.compile(r"class=\"anim-|new Animation\(")
FRAME = re.compile(r"frames\[\s*0\s*\]\s*=\s*\"(data:image/[^\"]+)\"")
ESTIMATOR = re.compile(r"class=['\"][^'\"]*sk-(?:top-container|text-repr)")
FIGURES = {"plotly": "Plotly", "vega": "Vega", "bokeh": "Bokeh", "holoviews": "HoloViews"}


def terminal(text: str) -> str:
    r"""Return what a terminal shows of text with escapes, `\r` and backspaces."""
    text = ESCAPES.sub("", text).replace("\r\n", "\n")
    lines = (_last_state(line) if re.search("[\r\b]", line) else line for line in text.split("\n"))
    return "\n".join(lines).expandtabs(8)


def _last_state(line: str) -> str:
    shown: list[str] = []
    position = 0
    for character in line.rstrip("\r"):
        if character == "\r":
            position = 0
        elif character == "\b":
            position = max(0, position - 1)
        else:
            shown[position : position + 1] = character
            position += 1
    return "".join(shown)


def joined(outputs: Iterable[Any]) -> list[Any]:
    """Return outputs with the streams that follow each other in one, as Jupyter shows them."""
    found: list[Any] = []
    for output in outputs:
        last = found[-1] if found else {}
        if output.get("output_type") == "stream" == last.get("output_type"):
            found[-1] = {**last, "text": _text(last.get("text")) + _text(output.get("text"))}
        else:
            found.append(output)
    return found


def of_output(output: Any, cell: Any, document: Document) -> str:
    """Return an output in Typst's markup."""
    kind = output.get("output_type")
    if kind == "stream":
        return _block(_text(output.get("text")), document)
    if kind == "error":
        traceback = "\n".join(map(str, output.get("traceback") or []))
        return _block(traceback or f"{output.get('ename')}: {output.get('evalue')}", document)
    data = dict(output.get("data") or {})
    shown = (form(data, output, cell, document) for form in FORMS)
    return next((typst for typst in shown if typst), "") or _left(data, document)


def _text(value: Any) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _block(text: str, document: Document) -> str:
    text = clean(terminal(text)).rstrip()
    document.see(text)
    return code_block(text.lstrip("\n"), call="output") if text.strip() else ""


def _widget(data: dict[str, Any], output: Any, cell: Any, document: Document) -> str:
    if WIDGET not in data or set(IMAGES) & set(data):
        return ""
    return f"\n\n{document.absent('interactive widget: not in print')}\n\n"


def _formula(data: dict[str, Any], output: Any, cell: Any, document: Document) -> str:
    latex = _text(data.get("text/latex"))
    return _latex(latex, document) if LATEX_FORMULA.match(latex) else ""


def _latex(latex: str, document: Document) -> str:
    """Return an output of LaTeX: formulas, and text with a few commands."""
    latex = re.sub(r"\\([(\[)\]])", r"\\\\\1", clean(latex))
    marked, formulas = take_formulas(latex)
    for formula in formulas:  # alone, it has a line of its own
        formula.display = formula.display or not FORMULA.sub("", marked).strip()
    marked = html_.escape(marked.replace("\\\\", " "))
    for name, tag in LATEX_WORDS.items():
        marked = re.sub(rf"\\{name}\{{([^{{}}]*)\}}", rf"<{tag}>\1</{tag}>", marked)
    return html.Page(document, formulas, {}).translate(f"<p>{marked}</p>")


def _picture(data: dict[str, Any], output: Any, cell: Any, document: Document) -> str:
    problems = []
    others = sorted(name for name in data if name.startswith("image/") and name not in IMAGES)
    for name in (*IMAGES, *others):
        if name not in data:
            continue
        try:
            picture = pictures.read(pictures.as_bytes(data[name]))
        except pictures.UnavailableError as problem:
            problems.append(f"picture not available: {name}: {problem}")
            continue
        return _placed(picture, name, output, cell, document)
    if problems and not data.get("text/html"):
        notes = " ".join(map(document.absent, problems))
        return f"\n\n{notes}\n\n{_plain(data, output, cell, document)}"
    for what in problems:
        document.note(what)
    return ""


def _placed(
    picture: pictures.Picture, name: str, output: Any, cell: Any, document: Document
) -> str:
    """Return a picture, with its caption and label if the cell has them."""
    metadata = output.get("metadata") or {}
    own = metadata.get(name)
    own = own if isinstance(own, dict) else {}
    width, height, alt = (own.get(key, metadata.get(key)) for key in ("width", "height", "alt"))
    size = fitted(picture, width, height, TEXT_WIDTH)
    caption = _text((cell.get("metadata") or {}).get("caption"))
    image = add_picture(document, picture, size, str(alt or ""), is_alone=not caption)
    if not caption:
        return f"\n\n{image}\n\n"
    written = html.of_markdown(" ".join(caption.split()), document).strip()
    label = _text((cell.get("metadata") or {}).get("label"))
    return figure(document, image, written, label, "image")


def _html(data: dict[str, Any], output: Any, cell: Any, document: Document) -> str:
    page = _text(data.get("text/html"))
    if not page.strip() or (ESTIMATOR.search(page) and data.get("text/plain")):
        return ""
    if ANIMATION.search(page):
        frame = FRAME.search(page)
        first = frame[1].replace("\\\n", "").replace("\\", "") if frame else ""
        shown = html.of_html(f'<img src="{first}">', document) if frame else ""
        return f"{shown}\n\n{document.absent('animation: not in print')}\n\n"
    typst = html.of_html(page, document)
    return f"\n\n{typst}\n\n" if INVISIBLE.sub("", typst) else ""


def _markdown(data: dict[str, Any], output: Any, cell: Any, document: Document) -> str:
    text = _text(data.get("text/markdown"))
    return f"\n\n{html.of_markdown(text, document)}\n\n" if text.strip() else ""


def _other_latex(data: dict[str, Any], output: Any, cell: Any, document: Document) -> str:
    latex = _text(data.get("text/latex"))
    is_document = "\\begin{" in latex  # such as a table: its text says the same
    if not latex.strip() or (is_document and data.get("text/plain")):
        return ""
    return _block(latex, document) if is_document else _latex(latex, document)


def _plain(data: dict[str, Any], output: Any, cell: Any, document: Document) -> str:
    """Return an output as text, and a note if what a browser shows of it is something else."""
    note, text = _unprinted(data), _text(data.get("text/plain"))
    if not note:
        return _block(text, document)
    shown = "" if OBJECT.fullmatch(text) else _block(text, document)
    return f"\n\n{document.absent(note)}\n\n{shown}"


def _unprinted(data: dict[str, Any]) -> str:
    """Return what a note has to say of forms that only a browser shows."""
    names = " ".join(data)
    for mark, name in FIGURES.items():
        if f"vnd.{mark}" in names and not SILENT.search(names):
            return f"interactive {name} figure: not in print"
    page = _text(data.get("text/html"))
    is_scripted = SCRIPTED.search(page) and not ESTIMATOR.search(page)
    if is_scripted and UNSEEN.sub("", page):
        return "interactive figure: not in print"
    is_script = is_scripted or "application/javascript" in data
    return "output of a script: not in print" if is_script else ""


def _json(data: dict[str, Any], output: Any, cell: Any, document: Document) -> str:
    if "application/json" not in data or data.get("text/plain"):
        return ""
    return _block(json.dumps(data["application/json"], indent=2, ensure_ascii=False), document)


FORMS = (_widget, _formula, _picture, _html, _markdown, _other_latex, _json, _plain)


def _left(data: dict[str, Any], document: Document) -> str:
    """Return a note for an output that no form could show."""
    names = [name for name in data if data[name] not in ("", [], None)]
    if any(map(SILENT.match, names)) or set(names) <= {"text/html", "text/plain"}:
        return ""
    note = f"no printable form: {', '.join(names) or 'empty output'}"
    return f"\n\n{document.absent(note)}\n\n"
