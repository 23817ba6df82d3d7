"""The local stand-ins for Google's token issuers: one signs the schedules' calls, one the admin's tokens.

Each has a key of its own that was made for this data folder. This module is never deployed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from scripts.dev.folder import Folder

ACCOUNT = "scheduler@f0-ops.localhost"
ADMIN = "local-admin"
LIFETIME = timedelta(hours=1)


class Signer:
    def __init__(self, pem: bytes) -> None:
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("a key is not an RSA key: remove the files *-key.pem from the data folder")
        self._key = key
        public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
        self._kid = hashlib.sha256(public).hexdigest()[:16]

    def jwks(self) -> dict[str, Any]:
        entry = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**entry, "kid": self._kid, "use": "sig", "alg": "RS256"}]}

    def sign(self, claims: Mapping[str, Any]) -> str:
        return jwt.encode(dict(claims), self._key, algorithm="RS256", headers={"kid": self._kid})


class Issuer(Signer):
    """Google, for schedules. `url` is where the server answers, without a path; it is the issuer's name too."""

    def __init__(self, pem: bytes, url: str) -> None:
        super().__init__(pem)
        self._url = url

    def token(self, function_id: str, now: datetime) -> str:
        """As Cloud Scheduler sends it to a function whose job names no audience."""
        claims = {
            "iss": self._url,
            "aud": f"{self._url}/{function_id}",
            "sub": ACCOUNT,
            "email": ACCOUNT,
            "email_verified": True,
            "iat": int(now.timestamp()),
            "exp": int((now + timedelta(hours=1)).timestamp()),
        }
        return self.sign(claims)


class AdminIssuer(Signer):
    """Firebase Authentication, with one user, who is an admin."""

    def __init__(self, pem: bytes, url: str, audience: str) -> None:
        super().__init__(pem)
        self._name = admin_issuer(url)
        self._audience = audience

    def token(self, now: datetime) -> tuple[str, datetime]:
        """A token as Firebase gives it to somebody who signs in now, and when it expires."""
        issued, expires = int(now.timestamp()), now.replace(microsecond=0) + LIFETIME
        claims = {
            "iss": self._name,
            "aud": self._audience,
            "sub": ADMIN,
            "user_id": ADMIN,
            "admin": True,
            "auth_time": issued,
            "iat": issued,
            "exp": int(expires.timestamp()),
        }
        return self.sign(claims), expires


def admin_issuer(url: str) -> str:
    return f"{url}/dev/admins"


def of_folder(folder: Folder, url: str) -> Issuer:
    return Issuer(_key(folder, "scheduler-key.pem"), url)


def admins_of_folder(folder: Folder, url: str, audience: str) -> AdminIssuer:
    return AdminIssuer(_key(folder, "admin-key.pem"), url, audience)


def _key(folder: Folder, name: str) -> bytes:
    path = folder.path / name
    return path.read_bytes() if path.exists() else folder.secret(name, new_key())


def new_key() -> bytes:
    return rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
