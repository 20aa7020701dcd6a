"""Keeps credentials and sessions alive, and answers over a socket."""
