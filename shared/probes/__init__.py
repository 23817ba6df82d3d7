"""Asking components whether they work."""
