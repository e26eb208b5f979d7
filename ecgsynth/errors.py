"""The one error type that the command line turns into one clear line."""


class EcgsynthError(ValueError):
    """A foreseeable problem with what the caller gave: the message says what, where and the way out."""
