"""Replace an object in a picture when told to in one sentence: the client of a Recast server."""

from .client import AsyncClient, Client
from .credentials import Credentials
from .errors import (
    AccessDenied,
    Cancelled,
    ClientClosed,
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
from .results import Edit, MaskResult, ParseResult, Progress, Status, StepStatus

__all__ = [
    "AccessDenied",
    "AsyncClient",
    "Cancelled",
    "Client",
    "ClientClosed",
    "Credentials",
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
    "Progress",
    "RecastError",
    "Restarting",
    "ServerUnavailable",
    "Status",
    "StepStatus",
]
