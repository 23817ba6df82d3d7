"""The one snapshot that the public sees: derived, published, cached."""
