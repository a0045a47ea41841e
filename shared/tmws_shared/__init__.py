"""Plumbing every TMWS process stands on; no domain word."""
