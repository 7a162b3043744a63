"""Recurrent programs from JAX to one ahead-of-time artifact for any hardware."""
