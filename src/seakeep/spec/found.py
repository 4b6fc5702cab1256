"""What a check between sections finds, before it is known where in the file that is."""

from dataclasses import dataclass

from seakeep.spec.messages import Location


@dataclass(frozen=True, slots=True)
class Found:
    """A problem at a location."""

    location: Location
    message: str = ""
    hint: str = ""
    key: bool = False
    """It is about the key there, not its value."""
    warning: bool = False
    wants: tuple[str, str] | None = None
    """(section, name), without a message: a problem only when the section lacks the name, which
    is told in the words that are used everywhere."""
