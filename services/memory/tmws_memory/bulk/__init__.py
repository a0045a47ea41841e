"""Memories in bulk: out as a stream of lines, in from files of several programs."""
