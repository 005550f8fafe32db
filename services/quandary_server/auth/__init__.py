"""Bearer tokens: who calls, and what may they do?"""

from quandary_server.auth.callers import Caller, Role, require
from quandary_server.auth.issuing import Issued, admin_file, admin_token, ensure_tokens, issue_token, revoke_token, rotate_token
from quandary_server.auth.keyring import Keyring
from quandary_server.auth.tokens import Token, TokenFile, read_tokens

__all__ = [
    "Caller",
    "Issued",
    "Keyring",
    "Role",
    "Token",
    "TokenFile",
    "admin_file",
    "admin_token",
    "ensure_tokens",
    "issue_token",
    "read_tokens",
    "require",
    "revoke_token",
    "rotate_token",
]
