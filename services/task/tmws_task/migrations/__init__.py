"""Migrations of the schema `task`."""
