"""What macOS's Python asks the system for proxies with: there are none."""


def _get_proxy_settings() -> dict:
    return {}


def _get_proxies() -> dict:
    return {}
