"""An authoritative DNS server for the system's zone, one process a region."""
