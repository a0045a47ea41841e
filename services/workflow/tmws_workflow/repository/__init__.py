"""All SQL of the workflow service: workflows and executions for the API, the queue for the workers."""
