"""The kubelet's image credential provider, `ecr-credential-provider-py`, and its configuration."""
