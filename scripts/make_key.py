"""Make a key: senders get the key; INGEST_KEYS, or for usage USAGE_KEYS, its hash."""

from __future__ import annotations

import hashlib
import secrets


def make_key() -> tuple[str, str]:
    """A new random key and its SHA-256 in hex."""
    key = "f0_" + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()


def main() -> None:
    key, digest = make_key()
    print("A key for those who send metrics, or usage. It is shown only now, so keep it safe:\n")
    print(f"  {key}\n")
    print("Its SHA-256, for the secret `ingest-keys` (INGEST_KEYS) or `usage-keys` (USAGE_KEYS). While keys rotate,")
    print("list two, with a comma between:\n")
    print(f"  {digest}")


if __name__ == "__main__":
    main()
