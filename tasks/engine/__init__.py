"""How a stage's shards are planned, computed and recorded."""
