"""Tables of figures."""

from collections.abc import Callable, Sequence

from seakeep.explain.report import words
from seakeep.explain.report.markup import Content, Markup, tag
from seakeep.model.proof import Estimate


def table(
    caption: Content,
    corner: str,
    columns: Sequence[str],
    rows: Sequence[tuple[Content, Sequence[Content]]],
) -> Markup:
    """Figures by name: `rows` are (name, cells), and `corner` says what is named. Nothing when
    there are no rows."""
    if not rows:
        return Markup()
    head = [tag("th", corner, scope="col")]
    head += [tag("th", column, scope="col", class_="n") for column in columns]
    body = [
        tag("tr", tag("th", name, scope="row"), [tag("td", cell, class_="n") for cell in cells])
        for name, cells in rows
    ]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption) if caption else None,
            tag("thead", tag("tr", head)),
            tag("tbody", body),
        ),
        class_="scroll",
    )


def estimate(value: Estimate | None, write: Callable[[float], str]) -> Content:
    """A mean, and the interval that holds the true one, when it is known and not a point."""
    if value is None:
        return words.NOTHING
    mean = write(value.mean)
    if value.low is None or value.high is None:
        return mean
    low, high = write(value.low), write(value.high)
    if low == high == mean:
        return mean
    return [mean, " ", tag("span", f"{low} to {high}", class_="interval")]
