"""Sessions at IAM Identity Center: kept in the AWS CLI's files, refreshed, begun and ended."""
