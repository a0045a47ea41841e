"""What personas look after: a module for each duty, which asks the service that owns what it is about."""
