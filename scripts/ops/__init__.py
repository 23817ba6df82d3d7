"""`python -m scripts.ops`: what admins ask F0 Ops, from a terminal."""
