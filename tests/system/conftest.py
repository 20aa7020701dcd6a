"""Fixtures of the desk with docker clients, for every folder of system tests."""

from tests.support.docker_user import cli, docker, docker_user, engine, front, images, proxy

__all__ = ["cli", "docker", "docker_user", "engine", "front", "images", "proxy"]
