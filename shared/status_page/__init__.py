"""The public page, its feeds, badges and JSON, all rendered from the snapshot."""
