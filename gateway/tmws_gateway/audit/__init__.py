"""The audit log: a chain of records that shows every edit."""
