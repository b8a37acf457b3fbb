"""`<interpreter> <bundle> CONFIG`: see `zygote.py`."""

from __future__ import annotations

from fanfold_runtime.zygote import main

main()
