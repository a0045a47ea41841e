"""All SQL of the task service, by what it is about; every query stays in one namespace."""
