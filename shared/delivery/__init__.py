"""The outbox on its way out: in order, each once, until it is accepted or dead."""
