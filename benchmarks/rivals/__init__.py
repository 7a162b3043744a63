"""Recurrences measured against other systems, each in a process of its own, taking turns."""
