"""Why a config cannot have a ConvNeXt."""


class AdaptError(ValueError):
    """Something in a config stands in the way; the message is one line: what, where, what to do."""
