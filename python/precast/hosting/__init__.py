"""Serving, viewing and linking datasets."""
