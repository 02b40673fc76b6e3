"""Self-distillation of a backbone (DINO)."""
