"""A saved policy goes on: on the newest events of its log, with a share of the past."""
