"""The embedded stack: everything on one machine."""
