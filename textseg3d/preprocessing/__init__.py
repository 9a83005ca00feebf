"""See DESIGN: preprocessing."""
