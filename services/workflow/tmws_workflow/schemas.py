"""JSON Schema for what an execution is given."""

from tmws_shared.json_schema import SchemaError, check_schema, check_value

__all__ = ["SchemaError", "check_schema", "check_value"]
