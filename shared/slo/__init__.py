"""SLOs over what the fold counted: budgets, burn rates, history, exclusions, backtests and the reports."""
