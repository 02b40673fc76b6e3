"""What the explorer asks of a workspace."""
