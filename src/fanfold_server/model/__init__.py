"""Words that every layer uses: frozen dataclasses and enums. Standard library only, no I/O."""
