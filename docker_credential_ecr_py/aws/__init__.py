"""Sessions of botocore, and the calls to AWS's services."""
