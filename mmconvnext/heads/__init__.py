"""Decode heads for mmseg; ``mmconvnext.registry`` imports one when a config asks for it."""
