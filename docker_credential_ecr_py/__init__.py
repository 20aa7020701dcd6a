"""A Docker credential helper for Amazon ECR. Kept this short: every cached hit loads this file."""

__version__ = "0.1.0"
