"""ecr-py, the command a person types: a file a command group."""
