"""`./ops`: what admins ask F0 Ops, from a terminal."""
