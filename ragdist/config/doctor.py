"""Options of the doctor, apart from its code: --help need not import Ray."""

from dataclasses import dataclass

from ragdist.config.option import option


@dataclass
class DoctorOptions:
    """Options of the doctor."""

    data: str = ""
    """shards that every node is to read, by path or URL; empty: not looked at"""
    out: str = ""
    """folder or URL for runs, which every node is to see; empty: not looked at"""
    cache: str = "~/.cache/ragdist/fetched"
    """folder for fetched shards on each node"""
    seconds: float = option(3.0, above=0)
    """how long each node reads shards"""
    reduce_mb: int = option(64, above=0)
    """megabytes of the all-reduce"""
    timeout: float = option(60.0, above=0)
    """seconds that a node may take for one check"""
