"""The libraries as they are before any of the user's code, and what watches over them.

Made once, by who forks workers, after it has imported what it preloads: a worker that looked
through the libraries itself would touch, and so copy, thousands of pages, which takes longer than
to fork it. What is imported later is added when it is.
"""

from __future__ import annotations

from fanfold_runtime import children
from fanfold_runtime.figures import Figures
from fanfold_runtime.fingerprint import MODULES, Fingerprint
from fanfold_runtime.imports import Watcher
from fanfold_runtime.interrupts import Interrupts
from fanfold_runtime.libraries import Libraries
from fanfold_runtime.loggers import Loggers
from fanfold_runtime.modules import Modules
from fanfold_runtime.threads import Threads


class Baseline:
    """What a worker inherits.

    Attributes:
        figures: captures what is drawn.
        functions: those that must not be replaced.
        interrupts: keeps handlers of signals to calls.
        libraries: settings that are put back.
        loggers: what is put back of `logging`.
        modules: the ways to them, which are put back.
        threads: how many they use.
    """

    def __init__(self) -> None:
        self.interrupts = Interrupts()
        watcher = Watcher()
        self.figures = Figures(watcher)
        children.introduce(watcher)
        self.functions = Fingerprint()
        for name in MODULES:
            watcher.on(name, self.functions.add)
        self.libraries = Libraries(watcher)
        self.loggers = Loggers()
        self.modules = Modules()
        self.threads = Threads()
