"""Stage pretrain: a backbone of one's own."""
