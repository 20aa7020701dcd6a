"""Fixtures of the desk with docker clients, for every folder of system tests."""

from tests.support.desk import cli, desk, docker, engine, front, images, proxy

__all__ = ["cli", "desk", "docker", "engine", "front", "images", "proxy"]
