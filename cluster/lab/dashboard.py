"""The state of a cluster's nodes, read from the HTTP interface of Ray's dashboard.

Not by a GCS client: a process has one Ray token for its life, and `import ray` costs seconds.
"""

import http.client
import json
import socket
from pathlib import Path


def answers(address: str, port: int, seconds: float = 1.0) -> bool:
    """Whether something listens at a TCP port."""
    try:
        socket.create_connection((address, port), timeout=seconds).close()
    except OSError:
        return False
    return True


def nodes(address: str, port: int, token: Path, seconds: float = 10.0) -> dict[str, str] | None:
    """State in GCS ("ALIVE", "DEAD") of each node by its address; None if the head does not answer.

    Raises:
        RuntimeError: the head answers with an error.
    """
    rows = _rows(address, port, token, seconds)
    if rows is None:
        return None
    found: dict[str, str] = {}
    for row in rows:
        if found.get(row["node_ip"]) != "ALIVE":
            found[row["node_ip"]] = row["state"]
    return found


def node_id(address: str, port: int, token: Path, of: str, seconds: float = 10.0) -> str | None:
    """The id in GCS of the node that is alive at an address; None if there is none, or the head does not answer."""
    rows = _rows(address, port, token, seconds) or []
    return next((row["node_id"] for row in rows if row["node_ip"] == of and row["state"] == "ALIVE"), None)


def _rows(address: str, port: int, token: Path, seconds: float) -> list[dict] | None:
    connection = http.client.HTTPConnection(address, port, timeout=seconds)
    try:
        secret = token.read_text().strip()
        connection.request("GET", "/api/v0/nodes?limit=10000", headers={"Authorization": f"Bearer {secret}"})
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if response.status in (500, 502, 503):  # still starting
        return None
    if response.status != 200:
        raise RuntimeError(f"the dashboard answers {response.status}: {body[:200]!r}")
    return json.loads(body)["data"]["result"]["result"]
