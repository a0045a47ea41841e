"""Migrations of the schema `memory`."""
