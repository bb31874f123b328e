"""Code of others that a run depends on, its plugins and the packages that its choices are from: part of what a run is.

It stands beside the configuration in a checkpoint's meta.json, in a generator file and in a search's plan:

    "plugins": {"my.py": SHA-256, ...}                  by file name; the folder that it lay in does not matter
    "packages": {"network.family": "toys 1.2", ...}     the choice, and whose entry point it is

A run with none of them has neither key.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ragdist.config import cli
from ragdist.config.option import choices
from ragdist.config.run import Config
from ragdist.tools import plugins

KEYS = ("plugins", "packages")
Code = dict[str, dict[str, str]]


def code_of(config: Config, more: Mapping[str, str] = MappingProxyType({})) -> Code:
    """The code of others that a run depends on; its plugins are loaded.

    Args:
        config: the run's.
        more: the packages of what is not chosen by an option of the run, as ``Index.packages``; empty: the project, or
            a plugin.
    """
    files = plugins.named(cli.plugin_files(config.plugin))
    # A worker without a package has none of its choices.
    packages = {name: table.provenance(value) if value in table else "" for name, value, table in choices(config)}
    packages |= more
    found = {
        "plugins": {Path(plugin.path).name: plugin.sha256 for plugin in sorted(files)},
        "packages": {name: package for name, package in packages.items() if package},
    }
    return {key: code for key, code in found.items() if code}


def differences(mine: Mapping[str, Any], saved: Mapping[str, Any]) -> list[str]:
    """What differs of two runs' code, in words: "my.py was changed (01234567 -> 89abcdef)".

    Args:
        mine: of this run, as `code_of`.
        saved: of the other one: anything that has these keys or lacks them, as a meta.json.
    """
    old, new = (side.get("plugins", {}) for side in (saved, mine))
    found = []
    if sorted(old.values()) != sorted(new.values()):  # else files were renamed at most
        for name in sorted(old.keys() | new.keys()):
            if name not in new:
                found.append(f"it had the plugin {name} ({old[name][:8]})")
            elif name not in old:
                found.append(f"it had no plugin {name}")
            elif old[name] != new[name]:
                found.append(f"the plugin {name} was changed ({old[name][:8]} -> {new[name][:8]})")
    old, new = (side.get("packages", {}) for side in (saved, mine))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            found.append(f"{name} is from {new.get(name, 'no package')}, and was from {old.get(name, 'none')}")
    return found


def changed(saved: Mapping[str, Any]) -> list[str]:
    """Notes on the plugins of a generator, of which this process has loaded other ones than it was trained with."""
    loaded = {Path(plugin.path).name: plugin.sha256 for plugin in plugins.loaded()}
    return [
        f"the plugin {name} was changed since the generator was trained with it ({sha256[:8]} -> {loaded[name][:8]})"
        for name, sha256 in saved.get("plugins", {}).items()
        if name in loaded and sha256 not in loaded.values()
    ]


def origin(saved: Mapping[str, Any], option: str) -> str:
    """Where the code of a saved choice may be had, the end of a sentence that says that there is no such choice."""
    if package := saved.get("packages", {}).get(option):
        return f": install {package}"
    files = ", ".join(saved.get("plugins", {}))
    return f": give the plugin that it is from, {files}, with --plugin FILE" if files else ": give --plugin FILE"
