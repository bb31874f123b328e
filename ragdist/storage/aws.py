"""Endpoint and credentials of S3, found as AWS tools find them: in the environment, else in a profile of ~/.aws.

obstore itself reads the environment's keys, web identities, containers' and instances' credentials.
"""

import configparser
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from ragdist.tools.errors import UserError

_ELSEWHERE = (  # where credentials come from if not from a profile
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_RENEWED = timedelta(minutes=10)  # how long keys of boto3 are used before it is asked again


def options(root: str) -> dict[str, Any]:
    """obstore's options for the bucket ``root``, as far as it does not find them itself.

    Raises:
        UserError: there is no such profile, or it needs what is not installed.
    """
    found: dict[str, Any] = {}
    name = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
    profile = _profile(name)
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or profile.get("region")
    if region:
        found["region"] = region
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    endpoint = next(filter(None, map(os.environ.get, names)), profile.get("endpoint_url"))
    if not endpoint and any(name in os.environ for name in names):  # empty, which obstore would take for an address
        endpoint = f"https://s3.{region or 'us-east-1'}.amazonaws.com"
    if endpoint:
        if not endpoint.startswith(("http://", "https://")):
            raise UserError(f"{root}: AWS_ENDPOINT_URL is {endpoint}: it must begin with http:// or https://")
        found["endpoint"] = endpoint.rstrip("/")
        if names[0] in os.environ:  # which obstore would prefer, empty or not
            found["aws_endpoint_url_s3"] = found["endpoint"]
    public = os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true", "yes")
    if not public and not any(map(os.environ.get, _ELSEWHERE)):
        found |= _credentials(root, name, profile)
    return found


def _profile(name: str) -> dict[str, str]:
    """What the files of ~/.aws say of a profile; keys in the credentials file come before others."""
    found: dict[str, str] = {}
    for variable, file, section in (
        ("AWS_CONFIG_FILE", "~/.aws/config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", name),
    ):
        parser = configparser.RawConfigParser(default_section="")
        path = Path(os.environ.get(variable) or file).expanduser()
        try:
            parser.read(path)
        except (configparser.Error, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
        if parser.has_section(section):
            found |= dict(parser.items(section))
    return found


def _credentials(root: str, name: str, profile: dict[str, str]) -> dict[str, Any]:
    """The credentials of a profile; empty where it has none and the machine may have its own."""
    assumed = any(key.startswith(("sso_", "role_")) for key in profile)  # which come before keys
    if {"aws_access_key_id", "aws_secret_access_key"} <= profile.keys() and not assumed:
        found = {key: profile[f"aws_{key}"] for key in ("access_key_id", "secret_access_key")}
        if token := profile.get("aws_session_token"):
            found["session_token"] = token
        return found
    if assumed or any(key.startswith(("credential_", "login_")) for key in profile):
        return {"credential_provider": _from_boto3(root, name)}
    if os.environ.get("AWS_PROFILE"):
        raise UserError(f"{root}: ~/.aws has no credentials in the profile {name} of AWS_PROFILE")
    return {}


def _from_boto3(root: str, name: str) -> Any:
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise UserError(
            f"{root}: the profile {name} of ~/.aws has no keys but another way to get them: pip install boto3, or "
            f'eval "$(aws configure export-credentials --profile {name} --format env)"'
        ) from error
    try:
        return Boto3CredentialProvider(boto3.Session(profile_name=name), ttl=_RENEWED)
    except Exception as error:  # of boto3's many
        raise UserError(f"{root}: the profile {name} of ~/.aws gives no credentials ({error})") from error
