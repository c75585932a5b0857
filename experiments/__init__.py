"""Commands and their configs: the only place with flags."""
