"""Encrypted PKCS #8 with a slow key derivation: PBES2 with scrypt and AES-256-CBC (RFC 7914, 8018).

The library reads such keys but writes only 2048 rounds of PBKDF2, which a stolen file does not
withstand. Only encryption is here; every tool that knows PKCS #8 can decrypt the result.
"""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7

SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**14, 8, 1
"""16 MiB and about 50 ms for one guess; OpenSSL reads no more than 32 MiB unasked."""

_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")
_SEQUENCE, _INTEGER, _OCTET_STRING = 0x30, 0x02, 0x04


def encrypt_pkcs8(private_key_info: bytes, passphrase: bytes) -> bytes:
    """The DER of an EncryptedPrivateKeyInfo that holds `private_key_info` (DER)."""
    salt, iv = os.urandom(16), os.urandom(16)
    key = Scrypt(salt=salt, length=32, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P).derive(passphrase)
    padder, encryptor = PKCS7(128).padder(), Cipher(AES(key), CBC(iv)).encryptor()
    padded = padder.update(private_key_info) + padder.finalize()
    derivation = _sequence(
        _SCRYPT,
        _sequence(
            _der(_OCTET_STRING, salt), _integer(SCRYPT_N), _integer(SCRYPT_R), _integer(SCRYPT_P)
        ),
    )
    scheme = _sequence(_AES_256_CBC, _der(_OCTET_STRING, iv))
    return _sequence(
        _sequence(_PBES2, _sequence(derivation, scheme)),
        _der(_OCTET_STRING, encryptor.update(padded) + encryptor.finalize()),
    )


def _sequence(*parts: bytes) -> bytes:
    return _der(_SEQUENCE, b"".join(parts))


def _integer(value: int) -> bytes:
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _der(tag: int, content: bytes) -> bytes:
    """Tag, length, content; lengths to 255, which is more than a key of 32 bytes needs."""
    length = len(content)
    return bytes((tag, length) if length < 128 else (tag, 0x81, length)) + content
