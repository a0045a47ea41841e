"""The MCP bridge: tool calls become gateway requests."""
