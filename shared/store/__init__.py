"""The document store: one protocol, two adapters."""
