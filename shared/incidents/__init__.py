"""Incidents, planned maintenance, post-mortems and runbooks."""
