"""Keeps image pull secrets of a Kubernetes cluster current: `ecr-py controller`."""
