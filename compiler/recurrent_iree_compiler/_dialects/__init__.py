"""Dialects that IREE parses but has no Python classes for: an empty module of the name of each.

Without one, MLIR searches the disk for the classes each time an operation is looked at, thousands
of times for one program.
"""
