"""What holds for all tests."""

from hypothesis import settings

# No test says how fast the machine is: a deadline would fail where others use it, too.
settings.register_profile("fanfold", deadline=None)
settings.load_profile("fanfold")
