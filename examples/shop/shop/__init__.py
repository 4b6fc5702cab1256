"""The example system of Seakeep: a shop of three HTTP services."""
