"""What `seakeep simulate` found out, as one HTML file for people."""

from seakeep.explain.report.page import render

__all__ = ["render"]
