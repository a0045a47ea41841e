"""Migrations of the schema `workflow`."""
