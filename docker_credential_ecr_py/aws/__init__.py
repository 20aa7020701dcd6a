"""Sessions of botocore, and what is asked of AWS's services with them."""
