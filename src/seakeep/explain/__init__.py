"""The journal, read aloud: sentences, timelines, incidents."""

from seakeep.explain.recovery import IncidentReport, incidents
from seakeep.explain.stories import Line, timeline
from seakeep.explain.wording import clock_time, dated, duration, sentence

__all__ = [
    "IncidentReport",
    "Line",
    "clock_time",
    "dated",
    "duration",
    "incidents",
    "sentence",
    "timeline",
]
