"""The commands of ecr-py, a file each."""
