"""Servers on loopback that speak the wire protocols this project depends on.

They stand in for AWS, for an ECR registry, and for the Docker Engine, so that real clients can be
run against them. They must never be reached from, or reach, anything but this machine.
"""
