"""The error of an export that fails."""

from nbconvert.utils.exceptions import ConversionException

from vqlib.errors import UserError


class ExportError(UserError, ConversionException):
    """A notebook that cannot be printed as it is; the message says why and what to do."""
