"""Where credentials rest. Left empty: every cached hit loads this file."""
