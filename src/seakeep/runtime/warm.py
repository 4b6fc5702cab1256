"""Imported once by the server that workers are forked from, so that none of them has to import and
load the twin by itself, nor compile it: that takes seconds when Numba's cache is empty."""

from contextlib import suppress

from seakeep.engines.twin import world

with suppress(Exception):  # whoever runs it next fails alike, and can be told of
    world.warm()
