"""Drivers: IREE, XLA, and a fake one in memory."""
