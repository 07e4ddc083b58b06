"""Geometry of a scan from its own data, by variable projection."""
