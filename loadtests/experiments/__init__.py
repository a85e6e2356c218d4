"""What an experiment's verdicts are worth: promised beside measured error rates, simulated."""
