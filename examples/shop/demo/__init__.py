"""The demo: the shop under load, losing an instance, a zone, a region and its keeper."""
