"""Memories that say nearly the same: found in the background, shown as clusters, made one on request only."""
