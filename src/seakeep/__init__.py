"""Seakeep: one declarative file and one control loop for systems that run in many places."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`seakeep.simulate` (see `seakeep.runtime.simulate`), brought along when somebody asks for it:
    it takes a compiler with it."""
    if name == "simulate":
        return import_module("seakeep.runtime.simulate").simulate
    raise AttributeError(f"module 'seakeep' has no attribute '{name}'")
