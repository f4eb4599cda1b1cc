"""Several pipelines, checks and hosting in a row."""
