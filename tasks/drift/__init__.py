"""Stage drift: how far a dump lies from the training images."""
