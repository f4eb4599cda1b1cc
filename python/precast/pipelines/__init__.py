"""Work from a source to a dataset: each has a ``plan`` that is pure and a run that has effects."""
