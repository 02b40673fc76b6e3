"""Stage frames: videos become images; and masks become videos."""
