"""Migrations of the schema `persona`."""
