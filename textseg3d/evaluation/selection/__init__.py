"""What validation decides: the best configuration or ensemble, and what to remove from masks."""
