"""The benchmark: what it measures, other ways to do the same work, and the table that it prints."""
