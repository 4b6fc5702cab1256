"""Seakeep: one declarative file and one control loop for systems that run in many places."""

__version__ = "0.1.0"
