"""Signals in plain Python: PythonQt cannot define Qt's in Python, and tests have no Qt."""


class Signal:
    """Calls what was connected, in that order.

    Args:
        arguments: names of what is passed, for readers.
    """

    def __init__(self, *arguments):
        self.arguments = arguments
        self._slots = []

    def connect(self, slot):
        """Call ``slot`` whenever the signal is emitted."""
        self._slots.append(slot)

    def emit(self, *values):
        """Call all slots."""
        for slot in list(self._slots):
            slot(*values)
