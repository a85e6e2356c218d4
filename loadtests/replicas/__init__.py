"""What several replicas on one Redis do on this machine, and what Redis costs them."""
