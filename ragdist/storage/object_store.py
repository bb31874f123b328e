"""Files in object stores (S3, Google Cloud Storage, Azure), through obstore; what it is told about each service.

A file is named by its URL. obstore's connections belong to one process: a store is made where it is used, and never
sent or inherited. Errors are `FileNotFoundError` (no file, or no bucket), `FileExistsError` (a condition is not met),
`NotImplementedError` (a condition is not understood), `EOFError` (a range beyond the end), `Refused` and `Broken`.
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ragdist.storage import aws
from ragdist.storage.filesystems import CONNECT, STALL
from ragdist.storage.retry import Broken, Refused
from ragdist.tools.errors import UserError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "abfs")

# The limit for a byte of the answer starts with the request: for a part that is sent it limits the sending, too.
_SENDING = 300.0
_PART, _AT_ONCE = 5 << 20, 2  # bytes of a part of a large file, the least that S3 takes; parts on their way at a time
_MOST_PARTS = 10_000  # of a file, in S3
_SMALL = 1 << 16  # bytes that are sent at once
_FOREVER = timedelta(days=1)  # of a whole request: on a slow line it takes what it takes

T = TypeVar("T")


def info(place: str) -> tuple[int | None, str]:
    """Bytes of a file, and a text that is another one when its content changes."""
    import obstore

    found = _ask(place, obstore.head)
    return found["size"], found["e_tag"] or str(found["last_modified"])


def read(place: str, start: int | None = None, stop: int | None = None) -> bytes | memoryview:
    """A file whole, or its bytes ``start`` to ``stop``: fewer where it ends before."""
    import obstore

    if start is None:
        return _ask(place, lambda store, path: bytes(obstore.get(store, path).bytes()))
    return _ask(place, lambda store, path: memoryview(obstore.get_range(store, path, start=start, end=stop)))


def read_version(place: str) -> tuple[bytes, str]:
    """A whole file, and its version for `write`."""
    import obstore

    def get(store: ObjectStore, path: str) -> tuple[bytes, str]:
        found = obstore.get(store, path)
        return bytes(found.bytes()), _version(found.meta)

    return _ask(place, get)


def write(place: str, data: bytes, *, only_if_new: bool = False, if_version: str = "") -> str:
    """Write a file whole; its new version.

    Args:
        place: its URL.
        data: what it holds then.
        only_if_new: there must be none yet.
        if_version: this must be the file's version still; empty: any.
    """
    import obstore

    mode: Any = "create" if only_if_new else "overwrite"
    if if_version:
        mode = {name: value for name, value in zip(_VERSION, if_version.split("\n"), strict=True) if value}
    put = functools.partial(obstore.put, file=data, mode=mode, use_multipart=False)
    return _version(_ask(place, put, sending=len(data) > _SMALL, conditional=mode != "overwrite"))


def upload(local: Path, place: str) -> None:
    """Copy a local file to a place, a large one in parts; it is there whole or not at all."""
    import obstore

    part = max(_PART, local.stat().st_size // (_MOST_PARTS - 1) + 1)
    put = functools.partial(obstore.put, file=local, chunk_size=part, max_concurrency=_AT_ONCE)
    _ask(place, put, sending=True)


def list_files(place: str, *, deep: bool = True) -> dict[str, int]:
    """Names, relative to a folder, and sizes of the files in it, and below it where ``deep``; none without a folder."""
    import obstore

    def find(store: ObjectStore, path: str) -> dict[str, int]:
        prefix = f"{path}/" if path else ""
        if deep:
            found = [entry for page in obstore.list(store, prefix) for entry in page]
        else:
            found = obstore.list_with_delimiter(store, prefix)["objects"]
        return {entry["path"].removeprefix(prefix): entry["size"] for entry in found}

    with suppress(FileNotFoundError):
        return _ask(place, find)
    return {}


def delete(place: str) -> None:
    """Delete a file; one that is gone already is fine."""
    import obstore

    _ask(place, obstore.delete)


def make_folder(place: str) -> None:
    """Do nothing: an object store has no folders."""


def check(place: str) -> None:
    """Raises UserError where a URL names no bucket, or what this machine has does not lead to it."""
    _store(*_split(place), sending=False)


_VERSION = ("e_tag", "version")


def _version(found: Any) -> str:
    parts = [found[name] or "" for name in _VERSION]
    return "\n".join(parts) if any(parts) else ""


def _split(place: str) -> tuple[str, str]:
    """``SCHEME://BUCKET`` and the path in it."""
    kind, _, rest = place.partition("://")
    bucket, _, path = rest.partition("/")
    kind = {"s3a": "s3", "gcs": "gs"}.get(kind.lower(), kind.lower())
    if not bucket or "//" in path:
        raise UserError(f"{place}: it must be {kind}://{'CONTAINER' if kind in ('az', 'abfs') else 'BUCKET'}/PATH")
    return f"{kind}://{bucket}", path.strip("/")


# Stores.

_used = _inherited = False  # whether obstore works in this process; whether it did in one that this is a fork of


def _after_fork() -> None:
    global _inherited
    _inherited = _inherited or _used


os.register_at_fork(after_in_child=_after_fork)


def _store(root: str, path: str, *, sending: bool) -> ObjectStore:
    """The store of a bucket, made once with what the environment says."""
    global _used
    if _inherited:  # obstore's threads do not exist here, and every request would wait for them for ever
        raise UserError(
            f"{root}: this process is a fork of one that used an object store: start it by spawn or forkserver"
        )
    _used = True
    try:
        return _made(root, sending, _environment())
    except UserError:
        raise
    except Exception as error:
        what = _sentence(error)
        if what.startswith("Account must be specified"):
            what = "set AZURE_STORAGE_ACCOUNT_NAME, or give az://CONTAINER@ACCOUNT.blob.core.windows.net/PATH"
        raise UserError(f"{root}/{path}: {what}") from error


def _environment() -> tuple[tuple[str, str], ...]:
    """Variables on which a store depends; a session that sets others gets another store."""
    read = ("AWS_", "GOOGLE_", "AZURE_")
    return tuple(sorted(item for item in os.environ.items() if item[0].startswith(read) or item[0] == "HOME"))


@functools.lru_cache(64)
def _made(root: str, sending: bool, environment: tuple[tuple[str, str], ...]) -> ObjectStore:
    from obstore.store import from_url

    kind = root.partition("://")[0]
    options = {"disable_bulk_delete": True} | aws.options(root) if kind == "s3" else {}  # which not all servers know
    variables = {"gs": ("GOOGLE_BASE_URL",), "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")}
    endpoints = [dict(environment).get(name, "") for name in variables.get(kind.replace("abfs", "az"), ())]
    endpoints.append(options.get("endpoint", ""))
    client = {
        "allow_http": any(endpoint.startswith("http://") for endpoint in endpoints),
        "connect_timeout": timedelta(seconds=CONNECT),
        "read_timeout": timedelta(seconds=_SENDING if sending else STALL),
        "timeout": _FOREVER,
    }
    if kind == "s3" and (bundle := os.environ.get("AWS_CA_BUNDLE")):
        client["root_certificate"] = Path(bundle).expanduser().read_bytes()
    return from_url(root, client_options=client, retry_config={"max_retries": 0}, **options)


def _ask(
    place: str, request: Callable[[ObjectStore, str], T], *, sending: bool = False, conditional: bool = False
) -> T:
    """The result of a request about a file, in this module's errors."""
    root, path = _split(place)
    store = _store(root, path, sending=sending)
    try:
        return _interruptible(lambda: request(store, path))
    except Exception as error:
        raise _translated(error, root, conditional) from error


def _interruptible(work: Callable[[], T]) -> T:
    """The result of ``work``; in the main thread Ctrl-C ends the wait for it, which obstore's own calls do not see."""
    if threading.current_thread() is not threading.main_thread():
        return work()
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result()


# Errors. obstore tells kinds of failure apart only in its text.


def _translated(error: Exception, root: str, conditional: bool) -> Exception:
    import obstore.exceptions as its

    text, said = str(error), _sentence(error)
    found = re.search(r"non-2xx status code: (\d{3})", text)
    status = int(found[1]) if found else 0
    if isinstance(error, FileNotFoundError) or status == 404:
        return FileNotFoundError(said)
    if conditional and (isinstance(error, its.AlreadyExistsError | its.PreconditionError) or status in (409, 412)):
        return FileExistsError(said)
    if isinstance(error, its.NotSupportedError | NotImplementedError) or status == 501:
        return NotImplementedError(said) if conditional else Refused(said)
    if status == 416:
        return EOFError("it ends before the bytes that were asked for")
    if without := _no_credentials(text, root):
        return Refused(without)
    if isinstance(error, its.PermissionDeniedError | its.UnauthenticatedError | its.InvalidPathError | ValueError):
        return Refused(said)
    if "Received redirect without LOCATION" in text:
        return Refused("the bucket is in another region: set AWS_REGION to its region")
    if 400 <= status < 500 and status not in (408, 425, 429):
        return Refused(said)
    if "InvalidCertificate" in text:
        return Refused("the server's certificate is of no authority that this machine trusts: set AWS_CA_BUNDLE")
    return Broken(said)


def _no_credentials(text: str, root: str) -> str:
    """What to do where obstore looked for credentials in the machine's metadata in vain; empty: it did not."""
    metadata = re.search(r"://(169\.254\.169\.254|metadata\.google\.internal|metadata)/", text)
    if not metadata or re.search(r"non-2xx status code: (429|5\d\d)", text):
        return ""
    kind = root.partition("://")[0]
    what, public = {
        "s3": ("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE", "AWS_SKIP_SIGNATURE"),
        "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SKIP_SIGNATURE"),
    }.get(kind, ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_SKIP_SIGNATURE"))
    return f"there are no credentials (set {what}; for public data {public}=true)"


_REASONS = (  # of a request without an answer: obstore's words for it, and what is said
    (r'message: "([^"]+)"', r"\1"),
    (r'error: "([^"]+)"', r"\1"),
    (r"kind: Timeout", "no answer in time"),
    (r"kind: Interrupted|IncompleteMessage|kind: Body|IncompleteBody", "the connection broke off"),
)


def _sentence(error: BaseException) -> str:
    """An error's text in a line: the service's answer, or why there is none."""
    text = str(error)
    if found := re.search(r"non-2xx status code: (\d{3}[^:\n]*)", text):
        code, message = (re.search(f"<{tag}>([^<]*)</{tag}>", text) for tag in ("Code", "Message"))
        rest = ": ".join(part[1] for part in (code, message) if part)
        return f"{found[1]} ({rest})" if rest else found[1]
    main, _, source = text.partition("Debug source:")
    for pattern, says in _REASONS:
        if found := re.search(pattern, source):
            return found.expand(says)
    return " ".join(main.split()).rpartition(" error: ")[2]
