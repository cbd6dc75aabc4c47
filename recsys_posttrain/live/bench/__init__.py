"""The fault bench: a whole service as processes, what is done to them, and what devices saw."""
