"""See DESIGN: training."""
