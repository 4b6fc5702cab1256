"""For all tests: how hypothesis looks for counterexamples."""

from hypothesis import settings

# A deadline for one example says how busy the machine is, not whether the code is right.
settings.register_profile("seakeep", deadline=None, print_blob=True)
settings.load_profile("seakeep")
