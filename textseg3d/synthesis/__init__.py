"""Labelled volumes without end: shapes from atlases and scans, rendered or re-lit as CT."""
