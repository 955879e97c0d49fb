"""What a user can fix: each message says what, where and the next command."""


class UserError(Exception):
    """A mistake or a lack that the user can mend: printed in one or two lines, exit code 2."""


class ConfigError(UserError):
    """A setting that is unknown, of the wrong type or out of range."""


class DataError(UserError):
    """A file of the user's that is missing, damaged or not what it should be."""
