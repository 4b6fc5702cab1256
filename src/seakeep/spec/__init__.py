"""The user's files → the `System` of the model: reading with line numbers, includes, checks."""

from seakeep.spec.loader import Loaded, load
from seakeep.spec.problem import Problem, Severity, SpecError
from seakeep.spec.schema import json_schema

__all__ = ["Loaded", "Problem", "Severity", "SpecError", "json_schema", "load"]
