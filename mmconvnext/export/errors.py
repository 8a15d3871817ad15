"""What can go wrong in exporting; messages are one line."""


class ExportError(ValueError):
    """The model, or what was asked for, is of a kind that cannot be exported."""


class DiffersError(RuntimeError):
    """What was exported finds something else than the model."""
