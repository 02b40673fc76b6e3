"""Frames in order, masks smoothed over time, and temporal consistency."""
