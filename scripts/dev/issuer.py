"""The local stand-in for Google's token issuer: signs the schedules' calls with a key that was made for this folder."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from scripts.dev.folder import Folder

ACCOUNT = "scheduler@f0-ops.localhost"


class Issuer:
    """`url` is where the server answers, without a path; it is the issuer's name too."""

    def __init__(self, pem: bytes, url: str) -> None:
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("the scheduler's key is not an RSA key: remove scheduler-key.pem from the data folder")
        self._key = key
        self._url = url
        public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
        self._kid = hashlib.sha256(public).hexdigest()[:16]

    def jwks(self) -> dict[str, Any]:
        entry = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**entry, "kid": self._kid, "use": "sig", "alg": "RS256"}]}

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
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._kid})


def of_folder(folder: Folder, url: str) -> Issuer:
    path = folder.path / "scheduler-key.pem"
    return Issuer(path.read_bytes() if path.exists() else folder.secret(path.name, new_key()), url)


def new_key() -> bytes:
    return rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
