"""Checkpoint and restore, by the program criu: nothing imports this room but these two commands."""
