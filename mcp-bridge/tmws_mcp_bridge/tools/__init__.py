"""The tools that an agent sees, by the service they speak to."""
