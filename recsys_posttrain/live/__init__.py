"""Live events: devices hold their recommendations before the moment; one small message shows them.

Needs the extra `live`. The rest of the package does not import this one.
"""
