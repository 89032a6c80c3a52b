"""Jobs: command, pipeline and sweep jobs that really run on this machine."""
