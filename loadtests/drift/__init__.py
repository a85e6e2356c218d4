"""What drift detection is worth: how often it cries wolf, what it sees, what it costs."""
