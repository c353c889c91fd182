"""Replace an object in a picture when told to in one sentence: the client of a Recast server."""

from .client import AsyncClient, Client
from .errors import (
    Cancelled,
    DeadlineExceeded,
    InternalError,
    InvalidImage,
    InvalidOption,
    InvalidPrompt,
    InvalidRequest,
    NotAnEdit,
    ObjectNotFound,
    Overloaded,
    RecastError,
    Restarting,
    ServerUnavailable,
)
from .results import Edit, MaskResult, ParseResult, Status, StepStatus

__all__ = [
    "AsyncClient",
    "Cancelled",
    "Client",
    "DeadlineExceeded",
    "Edit",
    "InternalError",
    "InvalidImage",
    "InvalidOption",
    "InvalidPrompt",
    "InvalidRequest",
    "MaskResult",
    "NotAnEdit",
    "ObjectNotFound",
    "Overloaded",
    "ParseResult",
    "RecastError",
    "Restarting",
    "ServerUnavailable",
    "Status",
    "StepStatus",
]
