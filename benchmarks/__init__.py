"""The helper beside its peers and beside what Python itself costs. Run by `make bench`."""
