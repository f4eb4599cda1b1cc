"""Benchmarks of precast beside its peers: both sides in one run, outputs compared before any time counts."""
