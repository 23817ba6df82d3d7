"""From what the SLOs read to alerts and their notifications, and what holds these back."""
