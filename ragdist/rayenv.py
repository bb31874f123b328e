"""The environment that Ray is to find when it is imported: it reads most of its settings only then."""

import os
import secrets

# Ray Train hands these on to its controller and workers.
_SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how soon a dead worker is noticed
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30",  # then the cluster is looked at again
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # the driver watches, and has a checkpoint written
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def prepare(worker_timeout: float) -> None:
    """Set what the user has not set; call it before Ray is imported.

    Args:
        worker_timeout: seconds after which a worker that does not answer counts as dead.
    """
    settings = _SETTINGS | {"RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": f"{worker_timeout:g}"}
    if not os.environ.get("RAY_ADDRESS"):
        # The cluster of this machine and this run: nobody else knows the token, so nobody else can use it.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        settings |= {"RAY_USAGE_STATS_ENABLED": "0"}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
