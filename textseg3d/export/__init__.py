"""See DESIGN: export."""
