"""`<interpreter> <bundle> [enter] CONFIG`: see `entrance.py` and `zygote.py`."""

from __future__ import annotations

import sys

if sys.argv[1] == "enter":
    from fanfold_runtime.entrance import main
else:
    from fanfold_runtime.zygote import main

main()
