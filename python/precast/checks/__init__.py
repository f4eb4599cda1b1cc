"""Rules about datasets and hosting, one function each, with stable codes."""
