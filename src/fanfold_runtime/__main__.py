"""`<interpreter> <bundle> CONFIG`: see `zygote.py`."""

from fanfold_runtime.zygote import main

main()
