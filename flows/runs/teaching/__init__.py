"""The flow that teaches, and what other flows do with lessons."""
