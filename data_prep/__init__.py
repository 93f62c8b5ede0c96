"""From raw Reddit dumps and web archives to token shards."""

__version__ = "0.1.0"
