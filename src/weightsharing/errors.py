"""Errors that a user can cause or mend. The command line prints each as one line and exits with 1."""


class UserError(Exception):
    """Base class. The message names the fault, the value and the remedy."""


class ConfigError(UserError):
    """A key of the configuration is unknown, of the wrong type, out of range or inconsistent."""


class FileError(UserError):
    """A file is missing, damaged, or of another kind than expected."""


class DeviceError(UserError):
    """The requested device is not available, or failed."""


class SolverError(UserError):
    """A solver of the theory did not converge."""


class ChainError(UserError):
    """One of the chains that move together cannot go on.

    chain: its number among them.
    """

    def __init__(self, message: str, chain: int = 0) -> None:
        super().__init__(message)
        self.chain = chain


class StepSizeError(ChainError):
    """The step size is too large for the curvature of the energy."""


class DivergenceError(ChainError):
    """A chain left the finite numbers."""


class InterruptedRunError(UserError):
    """A chain was asked to stop before its end."""
