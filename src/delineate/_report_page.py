"""The page that a report is written on: document, style, tables. Serves `report`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from delineate.errors import DelineateError

STYLE = """
:root{--ground:#fbfaf7;--panel:#fff;--ink:#1c1f24;--soft:#59606b;--rule:#dcd9d2;--accent:#0b6aa2;--wash:#0b6aa2;
--right:#0072b2;--wrong:#c24a00;--s0:#58a5d8;--s1:#338ac4;--s2:#1a70aa;--s3:#0c5583;--s4:#06304d;
color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--ground:#14161a;--panel:#1c1f25;--ink:#e8e6e1;--soft:#a0a7b2;
--rule:#353a42;
--accent:#69bdf0;--wash:#3f9bd6;--right:#56b4e9;--wrong:#f08a3c;--s0:#d3ebfb;--s1:#a8d7f7;--s2:#78bfee;
--s3:#4ba1d9;--s4:#3084bd}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main,header,footer{max-width:1080px;margin:0 auto;padding:0 24px}
header{padding-top:40px}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere;text-wrap:balance}
h2{font-size:1.2rem;margin:0 0 4px}
h3{font-size:.95rem;margin:0 0 8px}
p{margin:0 0 12px;max-width:72ch}
.soft,figcaption,caption{color:var(--soft)}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;padding:14px 0;border-bottom:1px solid var(--rule);
font-size:.92rem}
a{color:var(--accent)}
section{padding:34px 0 6px;border-bottom:1px solid var(--rule)}
section:last-of-type{border-bottom:0}
dl.headline{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:1px;background:var(--panel);
border:1px solid var(--rule);border-radius:8px;overflow:hidden;margin:22px 0 6px}
dl.headline div{padding:14px 18px;box-shadow:0 0 0 1px var(--rule)}
dl.headline dt{color:var(--soft);font-size:.88rem}
dl.headline dd{margin:0;font-size:1.75rem;font-weight:600;font-variant-numeric:tabular-nums;line-height:1.25}
dl.headline small{display:block;font-size:.82rem;font-weight:400;color:var(--soft)}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:22px 36px;
align-items:start}
figure{margin:12px 0 18px;min-width:0;max-width:560px}
.pictures figure{max-width:none}
h3.pick,label.pick{min-height:2.2rem;line-height:2.2rem}
figcaption{font-size:.88rem;margin-top:4px}
svg{width:100%;height:auto;display:block;font:12px system-ui,sans-serif}
svg text{fill:var(--soft)}
svg .name{fill:var(--ink);paint-order:stroke;stroke:var(--ground);stroke-width:4px}
svg .grid{stroke:var(--rule);stroke-width:1}
svg .axis{stroke:var(--soft);stroke-width:1}
svg .line{fill:none;stroke-width:2;stroke-linejoin:round}
svg .ideal{stroke:var(--soft);stroke-dasharray:4 4;fill:none}
.s0{--c:var(--s0)}.s1{--c:var(--s1)}.s2{--c:var(--s2)}.s3{--c:var(--s3)}.s4{--c:var(--s4)}
.right{--c:var(--right)}.wrong{--c:var(--wrong)}.plain{--c:var(--soft)}
svg .line{stroke:var(--c)}svg .fill{fill:var(--c)}
ul.key{list-style:none;display:flex;flex-wrap:wrap;gap:2px 16px;margin:0 0 4px;padding:0;font-size:.85rem;
color:var(--soft)}
ul.key i{display:inline-block;width:18px;height:3px;background:var(--c);vertical-align:middle;margin-right:6px;
print-color-adjust:exact;-webkit-print-color-adjust:exact}
.wide{overflow-x:auto;margin:12px 0 18px}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;min-width:min(100%,320px)}
caption{text-align:left;font-size:.88rem;padding-bottom:4px}
th,td{padding:4px 12px 4px 0;text-align:right;border-bottom:1px solid var(--rule);vertical-align:baseline}
th:first-child,td:first-child{text-align:left;min-width:7.5rem;max-width:30rem;overflow-wrap:anywhere}
thead th{color:var(--soft);font-weight:500;white-space:nowrap}
tbody th{font-weight:400}
th button{all:unset;cursor:pointer;border-bottom:1px dotted var(--soft)}
th button:focus-visible,a:focus-visible,summary:focus-visible,
select:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
td.words,th.words{text-align:left;min-width:9rem}
td.bar{width:45%;min-width:140px;text-align:left;padding-right:0}
td.bar span{display:inline-block;height:12px;min-width:1px;width:var(--w);background:var(--wash);
border-radius:0 3px 3px 0;
vertical-align:middle;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.heat td{text-align:center;padding:5px 8px;min-width:3rem;border:1px solid var(--ground);
background:color-mix(in srgb,var(--wash) var(--w,0%),transparent);print-color-adjust:exact;
-webkit-print-color-adjust:exact}
.heat td.deep{color:#fff}
.heat th{padding:5px 8px;max-width:9rem;overflow-wrap:anywhere;white-space:normal}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(500px,100%),1fr));gap:10px 30px}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:6px}
.pair img{width:100%;display:block;border-radius:3px;background:#777}
.note{border-left:3px solid var(--wrong);padding:2px 0 2px 14px;margin:8px 0}
details{margin:4px 0 14px}summary{cursor:pointer;color:var(--soft);font-size:.9rem}
select{font:inherit;max-width:100%;padding:3px 6px;color:inherit;background:var(--panel);
border:1px solid var(--rule);border-radius:4px}
label.pick{display:none;margin:0 0 8px}
footer{padding-top:20px;padding-bottom:40px;color:var(--soft);font-size:.85rem}
@media print{body{font-size:11pt}nav,label.pick{display:none!important}figure,tr{break-inside:avoid}
main,header,footer{max-width:none;padding:0}
th button{border:0}}
"""

SCRIPT = """
for (const table of document.querySelectorAll('table.sortable')) {
  const heads = table.tHead.rows[0].cells;
  [...heads].forEach((head, column) => {
    const button = document.createElement('button');
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener('click', () => {
      const up = head.getAttribute('aria-sort') === 'descending';
      const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const number = text => (text === '' || isNaN(text) ? null : Number(text));
      const order = (a, b) => {
        const [x, y] = [value(a), value(b)], [m, n] = [number(x), number(y)];
        if (m === null && n === null) return (x < y ? -1 : x > y ? 1 : 0) * (column ? 1 : -1);
        return m === null ? (up ? -1 : 1) * -1 : n === null ? (up ? -1 : 1) : m - n;
      };
      const rows = [...table.tBodies[0].rows].sort((a, b) => (up ? order(a, b) : order(b, a)));
      table.tBodies[0].append(...rows);
      for (const other of heads) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    });
  });
}
for (const pick of document.querySelectorAll('label.pick')) {
  const charts = [...document.querySelectorAll('[data-choice]')];
  const chosen = pick.querySelector('select');
  const show = () => charts.forEach(chart => { chart.hidden = chart.dataset.choice !== chosen.value; });
  pick.style.display = 'block';
  pick.addEventListener('change', show);
  show();
}
"""


@dataclass(frozen=True)
class Part:
    """One section of the page.

    Args:
        name: Its anchor: letters only.
        title: Its headline, plain text.
        content: HTML.
        lead: Whether it stands at the top without a headline of its own.
    """

    name: str
    title: str
    content: str
    lead: bool = False


def text(value: object) -> str:
    """Any value as text that can stand between tags and in quoted attributes."""
    return escape(str(value), quote=True)


def number(value: float, digits: int = 3, *, sign: bool = False) -> str:
    """A number as text; a dash for what is not defined."""
    if math.isnan(value) or math.isinf(value):
        return "–"
    shown = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return f"{0:.{digits}f}" if float(shown) == 0 else shown.replace("-", "−")


def cell(value: object, digits: int = 3, *, sign: bool = False) -> str:
    """One cell of a table: a float is shown short, and sorted by its full value."""
    if isinstance(value, float):
        known = "" if math.isnan(value) or math.isinf(value) else repr(value)
        return f'<td data-value="{known}">{number(value, digits, sign=sign)}</td>'
    return f"<td>{text(value)}</td>"


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    caption: str = "",
    digits: int = 3,
    signed: Sequence[int] = (),
) -> str:
    """A sortable table; the first column names the rows. `signed`: columns that show a plus."""
    body = "".join(
        f'<tr><th scope="row">{text(row[0])}</th>'
        + "".join(cell(value, digits, sign=place in signed) for place, value in enumerate(row[1:], 1))
        + "</tr>"
        for row in rows
    )
    return framed(headings, body, caption=caption, kind="sortable")


def framed(headings: Sequence[str], body: str, *, caption: str = "", kind: str = "") -> str:
    """A table around rows that are HTML already."""
    head = "".join(
        f'<th scope="col"{" class=words" if heading.startswith("what") else ""}>{text(heading)}</th>'
        for heading in headings
    )
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide" tabindex="0"><table class="{kind}">{title}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def figure(chart: str, caption: str, *, attributes: str = "") -> str:
    """A chart with words under it (plain text)."""
    return f"<figure {attributes}>{chart}<figcaption>{text(caption)}</figcaption></figure>"


def folded(title: str, content: str) -> str:
    """Content that opens when asked for."""
    return f"<details><summary>{text(title)}</summary>{content}</details>"


def document(title: str, parts: Sequence[Part]) -> str:
    """The whole page."""
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        raise DelineateError(f"document: parts must have different names, got {names}")
    links = "".join(f'<a href="#{part.name}">{text(part.title)}</a>' for part in parts if not part.lead)
    body = "".join(
        part.content
        if part.lead
        else f'<section id="{part.name}" aria-labelledby="{part.name}-title">'
        f'<h2 id="{part.name}-title">{text(part.title)}</h2>{part.content}</section>'
        for part in parts
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body>"
        f"<header><h1>{text(title)}</h1></header><main>"
        f"{body.replace('<!--nav-->', f'<nav>{links}</nav>', 1)}"
        "</main><footer>Made by delineate. One file, nothing is loaded from elsewhere.</footer>"
        f"<script>{SCRIPT}</script></body></html>\n"
    )
