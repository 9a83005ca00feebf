"""See DESIGN: plans."""
