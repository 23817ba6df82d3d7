"""Usage of language models: recorded, priced, held against quotas and budgets, summed up and reconciled."""
