"""One table from errors to HTTP: the status of each, MLflow's code for it, and the way back for who called.

error          status  MLflow's error_code
InvalidInput   422     INVALID_PARAMETER_VALUE (400 there)
NotFound       404     RESOURCE_DOES_NOT_EXIST
Conflict       409     RESOURCE_ALREADY_EXISTS (400 there)
LostLease      409     RESOURCE_CONFLICT
Refused        403     PERMISSION_DENIED
Corrupt        500     DATA_LOSS
Unavailable    503     TEMPORARILY_UNAVAILABLE
Interrupted    504     INTERNAL_ERROR
RotaError      500     INTERNAL_ERROR
"""

from collections.abc import Mapping

from rota.errors import Conflict, Corrupt, Interrupted, InvalidInput, LostLease, NotFound, Refused, RotaError, Unavailable

TABLE: Mapping[type[RotaError], tuple[int, str]] = {
    InvalidInput: (422, "INVALID_PARAMETER_VALUE"),
    NotFound: (404, "RESOURCE_DOES_NOT_EXIST"),
    Conflict: (409, "RESOURCE_ALREADY_EXISTS"),
    LostLease: (409, "RESOURCE_CONFLICT"),
    Refused: (403, "PERMISSION_DENIED"),
    Corrupt: (500, "DATA_LOSS"),
    Unavailable: (503, "TEMPORARILY_UNAVAILABLE"),
    Interrupted: (504, "INTERNAL_ERROR"),
    RotaError: (500, "INTERNAL_ERROR"),
}
"""Status and MLflow's code of each error; a subclass has those of its base. MLflow's own status of a code stands beside its routes."""

_RAISED: Mapping[int, type[RotaError]] = {
    400: InvalidInput,  # a body that is no JSON
    401: Refused,
    403: Refused,
    404: NotFound,
    409: Conflict,
    413: InvalidInput,
    422: InvalidInput,
    502: Unavailable,  # a proxy without a process behind it
    503: Unavailable,
    504: Interrupted,
}


def status_of(error: RotaError) -> int:
    """The HTTP status with which an error is answered."""
    return _row(error)[0]


def mlflow_code_of(error: RotaError) -> str:
    """The error_code with which an error is answered to MLflow's clients."""
    return _row(error)[1]


def error_of(status: int) -> type[RotaError]:
    """The error that a client raises for a status of 400 or more; `RotaError` for one that stands for none."""
    return _RAISED.get(status, RotaError)


def _row(error: RotaError) -> tuple[int, str]:
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
