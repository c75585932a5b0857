"""What every command shares: flags, errors, signals, the watchdog and processes."""
