"""What runs inside the user's interpreter: standard library only, CPython 3.9 and newer.

The server packs this package into one archive and starts it with `<environment>/bin/python`.
Nothing of ours is installed in the environment. Optional libraries (orjson, numpy, pandas,
matplotlib) are used when that environment has them.
"""
