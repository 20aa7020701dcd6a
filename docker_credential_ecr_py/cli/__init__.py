"""The command `ecr-py`: the commands are in commands/, what they share is here."""
