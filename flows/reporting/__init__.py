"""What a run tells people and programs: logs, artifacts, exit codes."""
