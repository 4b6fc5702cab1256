"""The journal, read aloud: sentences, timelines, incidents."""

from seakeep.explain.recovery import IncidentReport, incidents
from seakeep.explain.stories import SAID_OF_ALL, Line, from_now_on, timeline
from seakeep.explain.wording import clock_time, dated, duration, sentence

__all__ = [
    "SAID_OF_ALL",
    "IncidentReport",
    "Line",
    "clock_time",
    "dated",
    "duration",
    "from_now_on",
    "incidents",
    "sentence",
    "timeline",
]
