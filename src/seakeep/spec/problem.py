"""What is wrong with a spec, and where: the value that every check of this package makes."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding. `line` and `column` count from 1; (1, 1) when it is about a whole file."""

    file: Path
    line: int
    column: int
    message: str
    """What is wrong, in one line."""
    hint: str = ""
    """What to write or do instead; may be empty."""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.severity}: {self.message}"


TEXT_MAX = 600


def one_line(text: str) -> str:
    """Text that may hold what a file holds, made safe to print: control characters become
    question marks, and what is too long is cut."""
    plain = text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
    return plain if len(plain) <= TEXT_MAX else plain[:TEXT_MAX] + "…"


class SpecError(Exception):
    """The spec cannot be used. `problems` holds every finding, warnings too, sorted."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = in_order(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def in_order(problems: tuple[Problem, ...] | list[Problem]) -> tuple[Problem, ...]:
    """Without repetitions; by file, line, column, then text."""
    return tuple(
        sorted(
            dict.fromkeys(problems),
            key=lambda p: (str(p.file), p.line, p.column, p.severity, p.message, p.hint),
        )
    )
