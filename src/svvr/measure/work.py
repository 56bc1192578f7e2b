"""Measurements as work for an executor.

In a file of its own, because the cache's keys cover all code that the module of the computation imports.
"""

from svvr.measure import unit
from svvr.run.evaluate import Work

WORK = Work(unit.measure, unit.Measured, lambda _: ("svvr.measure.unit",), lambda _: 0, lambda _: 1)
