"""HTML and SVG put together so that nothing is ever left unescaped.

Text is escaped wherever it is put, in elements and in attributes, unless it is `Markup`, which
only `tag` and `raw` make. Names of services, regions and scenarios come from users' files, and
nobody has to remember to escape them.
"""

from collections.abc import Iterable
from html import escape
from typing import TypeAlias


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content: TypeAlias = "str | int | Iterable[Content] | None"
"""What can stand in an element; None is nothing."""

VOID = frozenset({"br", "col", "hr", "meta"})
"""Elements of HTML that have no end tag."""
SHAPES = frozenset({"path", "rect", "line", "use"})
"""Elements of SVG that close themselves when they hold nothing."""


def tag(
    element: str, /, *content: Content, **attributes: str | int | float | bool | None
) -> Markup:
    """An element. `class_` is the attribute `class`, `aria_label` is `aria-label`; an attribute
    that is None or False is left out, one that is True stands without a value."""
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    inside = text(content)
    if element in VOID:
        return Markup(f"<{element}{written}>")
    if element in SHAPES and not inside:
        return Markup(f"<{element}{written}/>")
    return Markup(f"<{element}{written}>{inside}</{element}>")


def text(content: Content) -> Markup:
    """All of it, one after the other, escaped where it is not markup yet."""
    if content is None:
        return Markup()
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return Markup(escape(content))
    if isinstance(content, int):
        return Markup(str(content))
    return Markup("".join(map(text, content)))


def raw(html: str) -> Markup:
    """A constant of ours that is HTML as it stands. Never of anything that was read."""
    return Markup(html)


def _attribute(key: str, value: str | int | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    written = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f' {name}="{escape(written)}"'
