"""The report that a person reads: one self-contained HTML page, and its figures."""

from ecgsynth.report.page import render, save_report

__all__ = ["render", "save_report"]
