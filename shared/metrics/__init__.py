"""Metrics from a request to an answer: segments, the fold into blocks, hours and days, and queries over them."""
