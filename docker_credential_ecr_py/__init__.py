"""A Docker credential helper for Amazon ECR. Left empty: every cached hit loads this file."""
